"use strict";

// A viewer has two pictures, one on top of the other. The right one is clipped at the divider.
function start(viewer) {
  const stage = viewer.querySelector(".stage");
  const scroll = viewer.querySelector(".scroll");
  const sheet = viewer.querySelector(".sheet");
  const divider = viewer.querySelector("input[type=range]");
  const pictures = [...viewer.querySelectorAll(".sheet img")];
  const choice = (part) => viewer.querySelector(`[data-part=${part}]`);
  const chosen = (part) => Number(choice(part).value);
  const text = (picture) => `${picture.dataset.label} ${picture.dataset.psnr}`.trim();

  // A whole number of screen pixels for each of the picture's, about one CSS pixel at zoom 1.
  const unit = () => Math.max(1, Math.round(devicePixelRatio)) / devicePixelRatio;

  // Moves the frame to a whole pixel of the screen; between two, its edges would be blended.
  function align() {
    stage.style.left = stage.style.top = "0";
    const box = stage.getBoundingClientRect();
    const back = (place) => {
      const pixels = place * devicePixelRatio;
      return `${(Math.floor(pixels + 0.01) - pixels) / devicePixelRatio}px`;
    };
    stage.style.left = back(box.left + scrollX);
    stage.style.top = back(box.top + scrollY);
  }

  // Width and height of the visible part of the picture, not rounded and without scrollbars.
  function seen() {
    const box = scroll.getBoundingClientRect();
    return [
      box.width - (scroll.offsetWidth - scroll.clientWidth),
      box.height - (scroll.offsetHeight - scroll.clientHeight),
    ];
  }

  function wipe() {
    const place = scroll.scrollLeft + (divider.value / 100) * seen()[0];
    const cut = Math.round(place * devicePixelRatio) / devicePixelRatio;
    sheet.style.setProperty("--cut", `${cut}px`);
    divider.setAttribute(
      "aria-valuetext",
      `${Math.round(divider.value)} %: ${text(pictures[chosen("left")])} on the left, ` +
        `${text(pictures[chosen("right")])} on the right`,
    );
  }

  function choose() {
    pictures.forEach((picture, index) => {
      picture.hidden = index !== chosen("left") && index !== chosen("right");
      picture.className = index === chosen("right") && chosen("left") !== index ? "right" : "";
    });
    for (const part of ["left", "right"]) {
      const picture = pictures[chosen(part)];
      const psnr = document.createElement("b");
      psnr.textContent = picture.dataset.psnr;
      const shown = viewer.querySelector(`[data-shown=${part}]`);
      shown.replaceChildren(`${picture.dataset.label} `, psnr);
    }
    align();
    wipe();
  }

  function fit() {
    const zoom = chosen("zoom") * unit();
    const before = sheet.offsetWidth;
    const x = (scroll.scrollLeft + scroll.clientWidth / 2) / before;
    const y = (scroll.scrollTop + scroll.clientHeight / 2) / sheet.offsetHeight;
    sheet.style.width = `${sheet.dataset.width * zoom}px`;
    sheet.style.height = `${sheet.dataset.height * zoom}px`;
    scroll.scrollLeft = x * sheet.offsetWidth - scroll.clientWidth / 2;
    scroll.scrollTop = y * sheet.offsetHeight - scroll.clientHeight / 2;
    align();
    const [width, height] = seen();
    divider.style.setProperty("--seen", `${width}px`);
    divider.style.setProperty("--seen-height", `${height}px`);
    wipe();
  }

  function set(part, index) {
    if (index < 0 || index >= choice(part).options.length) return;
    choice(part).selectedIndex = index;
    part === "zoom" ? fit() : choose();
  }

  viewer.addEventListener("change", (event) => {
    if (event.target.dataset.part === "zoom") fit();
    else if (event.target.dataset.part) choose();
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
    const step = { "+": 1, "=": 1, "-": -1 }[event.key];
    if (digit) {
      const part = event.shiftKey ? "left" : "right";
      set(part, digit[1] - 1);
    } else if (step) set("zoom", choice("zoom").selectedIndex + step);
    else return;
    event.preventDefault();
  });
  divider.addEventListener("input", wipe);
  scroll.addEventListener("scroll", wipe);
  scroll.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" && event.buttons === 1)
      scroll.scrollBy(-event.movementX, -event.movementY);
  });
  addEventListener("resize", () => viewer.hidden || fit());

  // Shows the viewer, at first in the largest zoom that fits. `labels` are the pictures to choose.
  function show(labels) {
    viewer.hidden = false;
    for (const part of ["left", "right"]) {
      const index = pictures.findIndex((picture) => picture.dataset.label === labels[part]);
      if (index >= 0) choice(part).selectedIndex = index;
    }
    if (!viewer.dataset.fitted) {
      viewer.dataset.fitted = "yes";
      const fits = (option) =>
        sheet.dataset.width * unit() * option.value <= viewer.clientWidth &&
        sheet.dataset.height * unit() * option.value <= 0.85 * innerHeight;
      choice("zoom").selectedIndex = [...choice("zoom").options].findLastIndex(fits);
      if (choice("zoom").selectedIndex < 0) choice("zoom").selectedIndex = 0;
    }
    choose();
    fit();
  }

  const labels = () => ({
    left: pictures[chosen("left")].dataset.label,
    right: pictures[chosen("right")].dataset.label,
  });
  return { hide: () => (viewer.hidden = true), show, labels };
}

document.documentElement.classList.add("scripted");

const viewers = [...document.querySelectorAll(".viewer")].map(start);
const image = document.querySelector("#image");
if (image) {
  let shown = Number(image.value);
  viewers.forEach((viewer) => viewer.hide());
  viewers[shown].show({});
  image.addEventListener("change", () => {
    const labels = viewers[shown].labels();
    viewers[shown].hide();
    shown = Number(image.value);
    viewers[shown].show(labels);
  });
}

for (const figure of document.querySelectorAll(".curves"))
  figure.addEventListener("change", (event) => {
    const curve = figure.querySelector(`[data-curve="${event.target.value}"]`);
    curve.classList.toggle("off", !event.target.checked);
  });
