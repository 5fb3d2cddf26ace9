"use strict";
/* Sorting and filtering of tables, and the download of the embedded document. Text is only ever
   read and set as text; the page is complete without this script. */
(() => {
  const unknown = "-";
  const plain = (text) => text.replaceAll("\u00a0", " ").toLowerCase();
  const value = (row, column, numeric) => {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? cell.textContent.trim();
    if (text === unknown || text === "") return null;
    return numeric ? Number(text.replaceAll(",", "")) : text;
  };
  const step = 1000; /* More rows at once would take seconds to lay out. */
  const order = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null); /* unknown comes last */
    return sign * (typeof a === "number" ? a - b : a < b ? -1 : a > b ? 1 : 0);
  };

  const sortable = (table, head, column, status) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("number");
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : numeric;
      for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const keyed = Array.from(body.rows, (row) => [value(row, column, numeric), row]);
      keyed.sort((a, b) => order(a[0], b[0], down ? -1 : 1));
      body.append(...keyed.map((pair) => pair[1]));
      status(`sorted by ${button.textContent}, ${down ? "descending" : "ascending"}`);
    });
  };

  for (const box of document.querySelectorAll(".table.tools")) {
    const table = box.querySelector("table");
    const rows = Array.from(table.tBodies[0].rows);
    const texts = new Map(rows.map((row) => [row, plain(row.textContent)]));
    const search = box.querySelector("input");
    const selects = Array.from(box.querySelectorAll("select"));
    const output = box.querySelector("output");
    const more = box.querySelector("button.more");
    let limit = Number(box.dataset.limit) || Infinity;
    const filter = (remark) => {
      const wanted = plain(search.value);
      let count = 0;
      for (const row of table.tBodies[0].rows) { /* in the order shown: only the first are shown */
        const fits = texts.get(row).includes(wanted) && selects.every((select) =>
          select.value === "" || row.cells[Number(select.dataset.column)].textContent.trim() === select.value);
        count += fits;
        row.hidden = !fits || count > limit;
      }
      if (more) {
        more.hidden = count <= limit;
        more.textContent = count - limit > step ? `Show ${step.toLocaleString("en")} more` : `Show all ${count.toLocaleString("en")}`;
      }
      const all = rows.length.toLocaleString("en");
      const shown = count === rows.length ? `${all} rows` : `${count.toLocaleString("en")} of ${all} rows`;
      const first = count > limit ? `, the first ${limit.toLocaleString("en")} shown` : "";
      output.textContent = typeof remark === "string" ? `${shown}, ${remark}` : shown + first;
    };
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => sortable(table, head, column, filter));
    search.addEventListener("input", filter);
    for (const select of selects) select.addEventListener("change", filter);
    more?.addEventListener("click", () => {
      limit += step;
      filter();
      if (more.hidden) search.focus(); /* Focus must not be lost with the button. */
    });
    box.querySelector(".filter").hidden = false;
    filter();
  }

  const reach = () => {
    for (const region of document.querySelectorAll(".scroll")) {
      /* Only what scrolls needs to be reached by keyboard. */
      if (region.scrollWidth > region.clientWidth) region.tabIndex = 0;
      else region.removeAttribute("tabindex");
    }
  };
  window.addEventListener("resize", reach);
  reach();

  for (const button of document.querySelectorAll("button[data-download]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const text = document.getElementById("document").textContent;
      const url = URL.createObjectURL(new Blob([text + "\n"], { type: "application/json" }));
      const link = document.createElement("a");
      link.href = url;
      link.download = button.dataset.download;
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 1000);
    });
  }
})();
