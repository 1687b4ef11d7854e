/**
 * All that the page says, in one place. Another language is another object of this form in LANGUAGES; the
 * page takes the first of the browser's languages that is there.
 */

const counted = (n, one, many) => `${n.toLocaleString()} ${n === 1 ? one : many}`;

const en = {
  page: {
    title: "Recollect",
    titleOf: (heading) => `${heading} · Recollect`,
    skip: "Skip to the photos",
    photo: (id) => `Photo ${id}`,
    found: (n, narrowed) => (n || narrowed ? counted(n, "photo", "photos") : ""),
  },
  api: {
    unreachable: "The server cannot be reached.",
    status: (status) => `The server answered ${status}.`,
  },
  signIn: {
    title: "Sign in",
    how: "This library asks for an access key. Whoever runs it can make one: recollect keys add",
    key: "Access key",
    submit: "Sign in",
  },
  search: {
    form: "Photos",
    placeholder: "Search photos",
    addWords: "Add words to the combination",
    suggestions: "Suggestions",
    combine: "Combine",
    combineHint: "Combine: ask with several words and pictures at once",
    combineHow: "Type words, or press Combine on a photo: then add more of this and less of that.",
    byCamera: "Take a picture to search with",
    box: "Search your photos in your own words",
    byPicture: "Search with a picture",
    byPictureHint: "Search with a picture (or paste or drop one here)",
    pictureInput: "Picture to search with",
    drop: "Drop here to find similar photos",
    dropElsewhere: "Drop to add to your library",
    searching: "Searching…",
    clear: "Clear search",
    add: "Add photos",
  },
  results: {
    library: "Your photos",
    words: (words) => `“${words}”`,
    similar: "Similar photos",
    similarTo: (name) => `Similar to ${name}`,
    mixed: "Combined search",
    note: ({ matched, latency_ms: ms, next_cursor: next }, n, { sort, picture, parts }) => {
      const unlinked = picture !== undefined || parts?.some((part) => part.image !== undefined);
      const order = (en.sort.results[sort] ?? en.sort.results[""]).toLowerCase();
      const count = `${counted(n, "result", "results")}${next ? " so far" : ""}`;
      const found = matched ? `${count}, ${order} · ${Math.round(ms)} ms` : en.results.unsure;
      return [n ? found : en.results.none, unlinked && en.results.unlinked].filter(Boolean).join(" · ");
    },
    none: "Nothing in the library matches.",
    unsure: "Most likely nothing in the library fits; the nearest is first.",
    unlinked: "pictures from this device are not part of a link",
    lost: "This search was made with a picture from a device, which a link cannot hold. Choose the picture again.",
    crop: "Search with a part of this picture",
    sort: "Order",
    more: "Load more",
    chips: "Narrowed to",
    withoutChip: "Search without this",
    searchWithout: (label) => `Search without: ${label}`,
    deleted: "The photo was deleted.",
  },
  sort: {
    library: { "": "Latest added", taken: "Latest taken" },
    results: { "": "Best first", taken: "Latest taken", added: "Latest added" },
  },
  suggestions: {
    recent: "asked before",
    names: { tags: "tag", category: "category", city: "place", country: "place", camera: "camera" },
    of: (facet, count) => `${en.suggestions.names[facet]} · ${count.toLocaleString()}`,
  },
  facets: {
    button: "Filters",
    panel: "Filters",
    none: "There is nothing to filter by.",
    more: (n) => `${n.toLocaleString()} more`,
    year: "Year taken",
    category: "Category",
    tags: "Tags",
    camera: "Camera",
    country: "Country",
    city: "City",
    orientation: "Shape",
    has_location: "Position",
    value: (facet, value) => (facet === "has_location" ? (value === "true" ? "known" : "not known") : value),
    chip: (filter, value) =>
      ({
        tags_all: `tag: ${value}`,
        tags_any: `tag: ${value}`,
        tags_none: `not tag: ${value}`,
        year: `taken in ${value}`,
        has_location: value === "true" ? "with a position" : "without a position",
        orientation: value,
      })[filter] ?? `${filter.replaceAll("_", " ")}: ${value}`,
  },
  mixer: {
    section: "Parts of this search",
    hint: "Add words in the box, a picture, or any photo with Combine.",
    less: (name) => `Less of this: ${name}`,
    lessHint: "More of this, or less",
    weight: (name) => `Weight of ${name}`,
    crop: (name) => `Only a part of ${name}`,
    cropHint: "Only a part of it",
    remove: (name) => `Search without ${name}`,
    removeHint: "Search without it",
  },
  cropper: {
    title: "Search with a part of the picture",
    help: "Draw a frame, or move it. With the keyboard: arrow keys move it, with Shift they change its size.",
    frame: (x, y, width, height) => `Frame: ${x} % from the left, ${y} % from the top, ${width} % wide, ${height} % high`,
    part: "Search this part",
    whole: "The whole picture",
    cancel: "Cancel",
  },
  votes: {
    done: (vote) => ["Marked as a bad match.", "The vote was taken back.", "Marked as a good match."][vote + 1],
    undo: "Undo",
  },
  card: {
    score: "Score ",
    scores: (score, similarity) => `Score ${score.toFixed(3)}, cosine similarity ${similarity.toFixed(3)}`,
    good: "Good match",
    bad: "Bad match",
    vote: (vote, name) => `${vote > 0 ? "Good" : "Bad"} match: ${name}`,
    similar: "Similar photos",
    similarTo: (name) => `Photos similar to ${name}`,
    combine: "Combine with this photo",
    combineTo: (name) => `Combine with ${name}`,
  },
  voice: {
    button: "Search by voice",
    off: "Voice search is switched off on this server.",
    listening: "Listening… press the microphone again when you are done, or hold it while you speak.",
    panel: "Recording",
    time: (ms, most) => `${(ms / 1000).toFixed(1)} of ${most / 1000} s`,
    done: "Search",
    cancel: "Cancel",
    silent: "No speech was heard: the microphone gave no sound at all. Is it muted, or is another one meant?",
    heardLabel: "I heard",
    again: "Search again",
    working: "Working out what you said…",
    heard: (words, note) => `I heard: “${words}” · ${note}`,
    insecure: "Browsers allow the microphone only over https or on localhost.",
    unable: "This browser cannot record sound.",
    blocked: "The microphone is blocked. Allow it for this page in the browser's address bar and try again.",
    missing: "No microphone was found on this device.",
    busy: "The microphone is in use by another program.",
    failed: (reason) => `The microphone did not start: ${reason}`,
  },
  lightbox: {
    previous: "Previous photo",
    previousHint: "Previous (←)",
    next: "Next photo",
    nextHint: "Next (→)",
    close: "Close",
    closeHint: "Close (Esc)",
    tags: "Tags",
    votes: "Is it what you asked for?",
    edit: "Edit",
    similar: "Similar photos",
    combine: "Combine",
    crop: "Search a part",
    original: "Download",
    delete: "Delete",
    info: "What is known (I)",
    heat: "Where it matches (H)",
    heatComes: "Looking where the words are seen…",
    noHeat: "The heat map could not be made.",
    zoomIn: "Larger (+)",
    zoomOut: "Smaller (−)",
    keys: "Keys (?)",
    why: "Why it matched",
    strip: "Similar photos",
    confirmTitle: "Delete this photo?",
    confirmText: "Its file is removed from the library. This cannot be undone.",
    keep: "Keep it",
  },
  editor: {
    form: "Your words about this photo",
    title: "Title",
    caption: "Caption",
    category: "Category",
    tags: "Tags, separated by commas",
    save: "Save",
    cancel: "Cancel",
    saving: "Saving…",
    saved: "Saved.",
  },
  facts: {
    taken: "Taken",
    place: "Place",
    camera: "Camera",
    lens: "Lens",
    size: "Size",
    file: "File",
    added: "Added",
    writing: "Text in it",
    megabytes: (megabytes) => `${megabytes.toLocaleString(undefined, { maximumSignificantDigits: 2 })} MB`,
  },
  why: {
    relevance: (share) => `${Math.round(100 * share)} % sure that it is what was asked for`,
    similarity: (cosine) => `It looks like it: cosine ${cosine.toFixed(3)}`,
    words: (share, fields) => `${Math.round(100 * share)} % of the words are in its ${fields.join(", ").replaceAll("_", " ")}`,
    learned: (learned) => `Learned from votes: ${learned > 0 ? "+" : "−"}${Math.abs(learned).toFixed(3)}`,
    vote_factor: (factor) => `Your vote: × ${factor.toFixed(2)}`,
    unwanted_factor: (factor) => `It may show what is not wanted: × ${factor.toFixed(2)}`,
    recency_factor: (factor) => `Its age: × ${factor.toFixed(2)}`,
    diversity_factor: (factor) => `More of the same category stand before it: × ${factor.toFixed(2)}`,
  },
  keys: {
    title: "Keys",
    close: "Close",
    steps: "the photo before, the next one",
    zoom: "larger, smaller, all of it; arrows move what is enlarged",
    info: "what is known",
    heat: "where the words are seen",
    edit: "edit title, caption, category, tags",
    similar: "similar photos",
    combine: "combine with this photo",
    download: "download the original",
    delete: "delete",
    escape: "close",
    slash: "to the search box, when no photo is open",
  },
};

const LANGUAGES = { en };
const PLACES = { text: "textContent", label: "ariaLabel", title: "title", placeholder: "placeholder" };

const spoken = navigator.languages.map((tag) => tag.split("-")[0].toLowerCase());
const language = spoken.find((name) => name in LANGUAGES) ?? "en";
document.documentElement.lang = language;

export const text = LANGUAGES[language];

/** Puts its text into each element with data-text, data-label, data-title or data-placeholder ("search.clear"). */
export function fill(root) {
  for (const [name, property] of Object.entries(PLACES)) {
    for (const element of root.querySelectorAll(`[data-${name}]`)) element[property] = found(element.dataset[name]);
  }
  for (const template of root.querySelectorAll("template")) fill(template.content);
}

const found = (path) => path.split(".").reduce((place, name) => place[name], text);
