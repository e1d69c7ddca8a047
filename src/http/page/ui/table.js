// A table whose rows are changed in place: it sorts and filters thousands of rows, but shows one page of them.

import { button, enable, make, put, setClass, show } from "./dom.js";
import { count } from "./format.js";

/**
 * A column: `label`; `text(row)`; `draw(cell, row)` in place of the text, called when the text differs; `sort(row)`; `kind`: classes of its
 * cells (`number`, `code`, `wide`: hidden on a phone).
 */
export class Table {
  #columns;
  #key;
  #rows = [];
  #shown = new Map(); // key -> { tr, texts }
  #filter = null;
  #order = null;
  #isDescending = false;
  #page = 0;
  #pageSize;

  constructor({ caption, columns, key, empty, pageSize = 100, emphasis }) {
    Object.assign(this, { emphasis, emptyText: empty });
    this.#columns = columns;
    this.#key = key;
    this.#pageSize = pageSize;
    this.body = make("tbody");
    this.headings = columns.map((column) => this.#heading(column));
    this.empty = make("p", { class: "quiet empty" }, empty);
    this.scroll = make("div", { class: "scroll", role: "group", tabindex: 0, "aria-label": caption },
      make("table", {}, make("caption", { class: "unseen" }, caption), make("thead", {}, make("tr", {}, ...this.headings)), this.body));
    this.range = make("span", { class: "quiet" });
    this.back = button("Previous", () => this.#turn(-1));
    this.next = button("Next", () => this.#turn(1));
    this.pager = make("nav", { class: "row pager", "aria-label": `Pages of ${caption}`, hidden: true }, this.range, this.back, this.next);
    this.element = make("div", {}, this.scroll, this.empty, this.pager);
  }

  /** Shows these rows. */
  update(rows) {
    this.#rows = rows;
    this.#render();
  }

  /** Shows only the rows for which `filter` is true, if it is not null. */
  set filter(filter) {
    this.#filter = filter;
    this.#page = 0;
    this.#render();
  }

  #heading(column) {
    const attributes = { scope: "col", class: column.kind ?? "" };
    if (!column.sort) return make("th", attributes, column.label);
    return make("th", { ...attributes, "aria-sort": "none" }, button(column.label, () => this.#sortBy(column), { class: "sort" }));
  }

  #sortBy(column) {
    this.#isDescending = this.#order === column ? !this.#isDescending : Boolean(column.kind?.includes("number"));
    this.#order = column;
    this.#columns.forEach((other, index) => {
      if (other.sort) this.headings[index].setAttribute("aria-sort", other !== column ? "none" : this.#isDescending ? "descending" : "ascending");
    });
    this.#render();
  }

  #turn(step) {
    this.#page += step;
    this.#render();
    this.scroll.scrollTop = 0;
  }

  #selected() {
    let rows = this.#filter ? this.#rows.filter(this.#filter) : this.#rows;
    if (this.#order) {
      const sign = this.#isDescending ? -1 : 1;
      const compared = rows.map((row) => ({ row, by: this.#order.sort(row) ?? -Infinity }));
      compared.sort((a, b) => sign * (typeof a.by === "string" && typeof b.by === "string" ? a.by.localeCompare(b.by, "en", { numeric: true }) : a.by - b.by));
      rows = compared.map(({ row }) => row);
    }
    return rows;
  }

  #render() {
    const rows = this.#selected();
    const pages = Math.max(1, Math.ceil(rows.length / this.#pageSize));
    this.#page = Math.min(Math.max(this.#page, 0), pages - 1);
    const first = this.#page * this.#pageSize;
    const page = rows.slice(first, first + this.#pageSize);
    this.#reconcile(page);
    show(this.scroll, page.length > 0);
    show(this.empty, page.length === 0);
    put(this.empty, this.#filter && this.#rows.length ? "Nothing matches." : this.emptyText);
    show(this.pager, pages > 1);
    put(this.range, `${count(first + 1)} to ${count(first + page.length)} of ${count(rows.length)}`);
    enable(this.back, this.#page > 0);
    enable(this.next, this.#page < pages - 1);
  }

  /** Brings the rows of the page into this order. Rows that stay keep their elements, and with them the focus. */
  #reconcile(page) {
    const keys = new Set(page.map(this.#key));
    for (const [key, { tr }] of this.#shown) {
      if (keys.has(key)) continue;
      tr.remove();
      this.#shown.delete(key);
    }
    let place = this.body.firstChild;
    for (const row of page) {
      const entry = this.#entry(this.#key(row));
      this.#fill(entry, row);
      if (entry.tr === place) place = place.nextSibling;
      else this.body.insertBefore(entry.tr, place);
    }
  }

  #entry(key) {
    let entry = this.#shown.get(key);
    if (!entry) {
      const cells = this.#columns.map((column, index) => (index === 0
        ? make("th", { scope: "row", class: column.kind ?? "" }) : make("td", { class: column.kind ?? "" })));
      entry = { tr: make("tr", {}, ...cells), texts: [] };
      this.#shown.set(key, entry);
    }
    return entry;
  }

  #fill({ tr, texts }, row) {
    this.#columns.forEach((column, index) => {
      const text = column.text(row);
      if (texts[index] === text) return;
      texts[index] = text;
      if (column.draw) column.draw(tr.cells[index], row);
      else put(tr.cells[index], text);
    });
    if (this.emphasis) setClass(tr, this.emphasis(row));
  }
}
