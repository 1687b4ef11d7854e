/** Where files to add come in. What brings them into the library is loaded with the first of them. */

import { droppedFiles, picturesOf } from "./adding/dropped.js";
import { fillTexts } from "./adding/fill.js";
import { UNFINISHED } from "./adding/names.js";
import { wireSamples } from "./adding/samples.js";

export { droppedFiles };

export class Uploads {
  /** `added(photo)` is called for each photo that is new; `more(count)` for those after the first 200. */
  constructor(on) {
    this.on = on;
    this.adding = null;
    fillTexts();
    this.wireFolder();
    wireSamples(on.added);
    if (localStorage.getItem(UNFINISHED)) this.load().then((adding) => adding.restore());
  }

  add(files) {
    if (this.adding) this.adding.add(files);
    else this.load().then((adding) => adding.add(files));
  }

  async load() {
    const { Adding } = await import("./adding/adding.js");
    this.adding ??= new Adding(this.on);
    return this.adding;
  }

  wireFolder() {
    const folder = document.getElementById("folder");
    document.getElementById("choose-folder").addEventListener("click", () => folder.click());
    folder.addEventListener("change", () => {
      this.add(picturesOf(folder.files));
      folder.value = "";
    });
  }
}
