
"use strict";
for (const layers of document.querySelectorAll(".layers")) {
  const maps = layers.querySelectorAll(".map");
  const methods = layers.querySelectorAll("[type=radio]");
  const fade = layers.querySelector("[type=range]");
  const show = () => {
    methods.forEach((one, place) => maps[place].classList.toggle("chosen", one.checked));
    layers.style.setProperty("--fade", fade.value / 100);
    layers.querySelector("output").textContent = `${fade.value} % map`;
    fade.setAttribute("aria-valuetext", `${fade.value} % map`);
  };
  layers.addEventListener("input", show);
  layers.querySelector(".controls").hidden = false;
  layers.classList.add("live");
  show();
}
