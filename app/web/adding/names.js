/** What a page leaves in localStorage for the next one. */

export const UNFINISHED = "recollect-adding"; // set while the browser's database holds files to add
export const PAUSED = "recollect-adding-paused"; // a reload does not end a pause
