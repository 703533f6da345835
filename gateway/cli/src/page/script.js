"use strict";
// The page reads without this: it only opens a step that is followed to, and finds steps by name.
const follow = () => {
  const step = document.querySelector(":target");
  if (step && step.matches("details")) step.open = true;
};
addEventListener("hashchange", follow);
follow();
const heading = document.querySelector("#steps h2");
if (heading) {
  const steps = [...document.querySelectorAll("details.step")];
  const line = document.createElement("p");
  line.className = "filters";
  const find = document.createElement("input");
  find.type = "search";
  find.placeholder = "find in steps and their output";
  find.setAttribute("aria-label", find.placeholder);
  find.addEventListener("input", () => {
    const wanted = find.value.toLowerCase();
    for (const step of steps) step.hidden = !step.textContent.toLowerCase().includes(wanted);
  });
  const button = (text, open) => {
    const all = document.createElement("button");
    all.type = "button";
    all.textContent = text;
    all.addEventListener("click", () => steps.forEach((step) => { step.open = open; }));
    return all;
  };
  line.append(find, button("open all", true), button("close all", false));
  heading.after(line);
}
