"use strict";
const body = document.querySelector("tbody");
const headings = [...document.querySelectorAll("th[data-sort]")];
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

const valueOf = (row, column) => {
  const cell = row.cells[column];
  const value = cell.dataset.value ?? cell.textContent.trim();
  return value === "–" ? "" : value;
};

/** Order the rows by a column; unknown values stand last either way. */
function sortBy(heading) {
  const isDown = heading.getAttribute("aria-sort") === "ascending";
  const compare = heading.dataset.sort === "number" ? (a, b) => a - b : collator.compare;
  const rows = [...body.rows].map((row) => [valueOf(row, heading.cellIndex), row]);
  rows.sort(([a], [b]) => (a === "") - (b === "") || (isDown ? compare(b, a) : compare(a, b)));
  body.append(...rows.map(([, row]) => row));
  headings.forEach((each) => each.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", isDown ? "descending" : "ascending");
}

headings.forEach((heading) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = heading.textContent;
  button.addEventListener("click", () => sortBy(heading));
  heading.replaceChildren(button);
});
