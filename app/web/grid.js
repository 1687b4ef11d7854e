/**
 * The photos as rows that fill the width. Only those near the window are in the document, however many there are;
 * the one with the focus stays. Arrow keys go from photo to photo.
 */

import { idOf } from "./cards.js";
import { layOut, ratioOf, rowAt } from "./justified.js";

const AROUND = 0.8; // windows above and below that are kept
const STEPS = { ArrowLeft: -1, ArrowRight: 1 };
const JUMPS = { ArrowUp: -1, ArrowDown: 1 };

export class Grid {
  /** `makeCard(photo)` answers a li with the class `card` and the photo's number as data-id. */
  constructor(list, makeCard) {
    this.list = list;
    this.makeCard = makeCard;
    this.photos = [];
    this.total = null;
    this.cards = new Map();
    this.rows = [];
    this.width = 0;
    this.redraw = once(() => this.draw());
    const watch = new ResizeObserver(() => this.resized());
    for (const sized of [list, list.parentElement]) watch.observe(sized);
    addEventListener("scroll", this.redraw, { passive: true });
    addEventListener("resize", this.redraw);
    list.addEventListener("keydown", (event) => this.key(event));
    list.addEventListener("focusout", this.redraw);
  }

  /** `total` is how many there will be, null if that is not known. */
  show(photos, total) {
    for (const card of this.cards.values()) card.remove();
    this.cards.clear();
    this.place([...photos], total);
  }

  append(photos, total) {
    const known = new Set(this.photos.map(idOf));
    const fresh = photos.filter((photo) => !known.has(idOf(photo)));
    const last = this.rows.pop();
    this.photos.push(...fresh);
    this.total = total;
    this.measure(last?.first ?? 0);
    return fresh;
  }

  prepend(photo) {
    this.place([photo, ...this.photos], this.total === null ? null : this.total + 1);
  }

  remove(id) {
    this.cards.get(id)?.remove();
    this.cards.delete(id);
    this.place(this.photos.filter((photo) => idOf(photo) !== id), this.total === null ? null : this.total - 1);
  }

  /** Other words about a photo, if it is here. */
  change(id, words) {
    const photo = this.photos[this.indexOf(id)];
    if (photo) this.renew(Object.assign(photo, words));
  }

  /** The photo has changed: its card is made anew. */
  renew(photo) {
    const old = this.cards.get(idOf(photo));
    if (!old) return;
    const focused = [...old.querySelectorAll("button")].indexOf(document.activeElement);
    const card = this.makeCard(photo);
    this.cards.set(idOf(photo), card);
    old.replaceWith(card);
    this.draw();
    card.querySelectorAll("button")[focused]?.focus();
  }

  place(photos, total) {
    this.photos = photos;
    this.total = total;
    this.rows = [];
    this.measure(0);
  }

  measure(first) {
    const px = remReader(this.list);
    this.strip = px("--strip");
    this.width = this.list.clientWidth;
    const shape = { width: this.width, target: px("--row"), gap: px("--gap"), strip: this.strip };
    layOut(this.rows, this.photos.map(ratioOf), first, shape);
    const last = this.rows.at(-1);
    this.list.style.blockSize = last ? `${last.top + last.height + this.strip}px` : "0";
    this.offset = this.list.getBoundingClientRect().top + scrollY;
    this.draw();
  }

  /** After a change of width the same photos are in sight. */
  resized() {
    this.offset = this.list.getBoundingClientRect().top + scrollY; // known from here on: asking costs a layout
    if (this.list.clientWidth === this.width || !this.width) return this.draw();
    const top = this.offset - scrollY;
    const anchor = this.rows[rowAt(this.rows, -top)];
    this.place(this.photos, this.total);
    return top < 0 && anchor ? scrollBy(0, this.rowOf(anchor.first).top - anchor.top) : undefined;
  }

  draw() {
    const wanted = this.wanted();
    for (const [id, card] of this.cards) {
      if (wanted.has(id)) continue;
      card.remove();
      this.cards.delete(id);
    }
    let place = this.list.firstElementChild;
    for (const [id, [index, row]] of wanted) {
      const card = this.cards.get(id) ?? this.makeCard(this.photos[index]);
      this.cards.set(id, card);
      this.position(card, index, row);
      if (card === place) place = place.nextElementSibling;
      else this.list.insertBefore(card, place);
    }
  }

  /** id → [number, row] of the photos near the window, in their order. */
  wanted() {
    const top = this.offset - scrollY;
    const near = AROUND * innerHeight;
    const from = this.rows.length ? rowAt(this.rows, -top - near) : 0;
    const focused = this.focused();
    const found = focused >= 0 && focused < (this.rows[from]?.first ?? 0) ? [[focused, this.rowOf(focused)]] : [];
    for (let number = from; number < this.rows.length; number += 1) {
      const row = this.rows[number];
      if (row.top > innerHeight - top + near) break;
      for (let index = row.first; index < row.end; index += 1) found.push([index, row]);
    }
    if (focused > (found.at(-1)?.[0] ?? -1)) found.push([focused, this.rowOf(focused)]);
    return new Map(found.map(([index, row]) => [idOf(this.photos[index]), [index, row]]));
  }

  position(card, index, row) {
    const { left, width } = row.boxes[index - row.first];
    const place = `translate(${round(left)}px, ${round(row.top)}px)`;
    const wide = `${round(width)}px`;
    if (card.style.transform === place && card.style.inlineSize === wide) return;
    card.style.transform = place;
    card.style.inlineSize = wide;
    card.querySelector("img").sizes = wide;
    card.style.blockSize = `${round(row.height + this.strip)}px`;
    card.setAttribute("aria-posinset", index + 1);
    card.setAttribute("aria-setsize", this.total ?? -1);
  }

  rowOf(index) {
    return this.rows.find((row) => index < row.end);
  }

  focused() {
    const card = document.activeElement?.closest?.(".card");
    return card && this.list.contains(card) ? this.indexOf(Number(card.dataset.id)) : -1;
  }

  indexOf(id) {
    return this.photos.findIndex((photo) => idOf(photo) === id);
  }

  focus(id) {
    const index = this.indexOf(id);
    if (index < 0) return;
    const row = this.rowOf(index);
    const top = row.top + this.list.getBoundingClientRect().top;
    if (top < 80 || top + row.height > innerHeight) scrollBy(0, top - innerHeight / 3);
    this.draw();
    this.cards.get(id)?.querySelector(".open").focus({ preventScroll: true });
  }

  key(event) {
    if (!event.target.matches(".open") || event.ctrlKey || event.metaKey || event.altKey) return;
    const index = this.focused();
    const next = event.key in STEPS ? index + STEPS[event.key] : this.across(index, JUMPS[event.key]);
    if (!this.photos[next]) return;
    event.preventDefault();
    this.focus(idOf(this.photos[next]));
  }

  /** The photo above or below: the one whose middle is nearest. */
  across(index, direction) {
    const row = this.rowOf(index);
    const other = direction && this.rows[this.rows.indexOf(row) + direction];
    if (!other) return -1;
    const middle = ({ left, width }) => left + width / 2;
    const from = middle(row.boxes[index - row.first]);
    const distances = other.boxes.map((box) => Math.abs(middle(box) - from));
    return other.first + distances.indexOf(Math.min(...distances));
  }
}

/** Reads a custom property in rem as pixels. */
function remReader(element) {
  const style = getComputedStyle(element);
  const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
  return (name) => rem * Number.parseFloat(style.getPropertyValue(name));
}

const round = (px) => Math.round(100 * px) / 100;

/** At most once a frame. */
function once(action) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      action();
    });
  };
}
