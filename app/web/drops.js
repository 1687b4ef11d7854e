/** Files that are dropped on the page or pasted: on the search box they are a question, elsewhere they are added. */

/** `ask(file)` gets a picture to search with, `add(transfer)` what was dropped on the rest of the page. */
export function wireDrops(search, { ask, add }) {
  const mark = (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dragging");
    search.classList.toggle("target", search.contains(event.target));
  };
  const unmark = () => {
    document.body.classList.remove("dragging");
    search.classList.remove("target");
  };
  addEventListener("dragenter", mark);
  addEventListener("dragover", mark);
  addEventListener("dragleave", (event) => event.relatedTarget === null && unmark());
  addEventListener("drop", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    unmark();
    if (search.contains(event.target)) ask(event.dataTransfer.files[0]);
    else add(event.dataTransfer);
  });
}

export function wirePaste(ask) {
  addEventListener("paste", (event) => {
    const picture = [...event.clipboardData.files].find((file) => file.type.startsWith("image/"));
    if (!picture || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    ask(picture);
  });
}
