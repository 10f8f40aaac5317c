(() => {
// runs only in a page opened by itself: Allure blocks scripts
const get = id => document.getElementById(id), find = get("find"), only = get("only"), matches = get("matches");
const rows = [...document.querySelectorAll(".log tbody tr:not(.fold)")];
let hits = [], at = -1;
document.documentElement.className = "live";
const report = () => {matches.textContent = !find.value ? "" : hits.length ? `${at + 1} of ${hits.length}` : "no line matches";};
const go = place => {
if (!hits.length) return;
if (hits[at]) hits[at].classList.remove("now");
at = (place + hits.length) % hits.length;
hits[at].classList.add("now");
const fold = hits[at].closest("tbody").querySelector(".fold input");
if (fold) fold.checked = true;
hits[at].scrollIntoView({block: "center"});
report();
};
const search = () => {
const wanted = find.value.toLowerCase();
if (hits[at]) hits[at].classList.remove("now");
hits = [];
at = -1;
for (const row of rows) {
const [mark, text] = [...row.cells].slice(-2);
const hit = wanted !== "" && `${mark.textContent} ${text.textContent}`.toLowerCase().includes(wanted);
row.classList.toggle("hit", hit);
row.hidden = only.checked && wanted !== "" && !hit;
if (hit) hits.push(row);
}
report();
go(0);
};
find.addEventListener("input", search);
only.addEventListener("change", search);
get("next").addEventListener("click", () => go(at + 1));
get("back").addEventListener("click", () => go(at - 1));
document.addEventListener("keydown", event => {
if (event.ctrlKey || event.metaKey || event.altKey) return;
if (event.target === find) {
if (event.key === "Enter") {event.preventDefault(); go(event.shiftKey ? at - 1 : at + 1);}
if (event.key === "Escape") {find.value = ""; search(); find.blur();}
} else if (event.key === "/") {event.preventDefault(); find.focus(); find.select();
} else if (event.key === "n") go(at + 1);
else if (event.key === "N") go(at - 1);
});
const failed = get("fail");
if (failed && !location.hash) {
failed.scrollIntoView({block: "center"});
scrollTo(0, 0);
failed.scrollIntoView({block: "nearest"});
}
})();
