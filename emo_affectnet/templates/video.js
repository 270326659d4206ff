"use strict";
const video = document.querySelector("video");
const failure = document.querySelector(".failure");
video.addEventListener("error", () => { failure.hidden = false; });

// A blob can be searched by every browser; a data address cannot.
const source = video.getAttribute("src");
if (source.startsWith("data:")) {
  const text = atob(source.slice(source.indexOf(",") + 1));
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
}

function formatTime(seconds) {
  const tenths = Math.round(10 * seconds);
  const minutes = Math.floor(tenths / 600), rest = tenths % 600;
  const hours = Math.floor(minutes / 60), pad = (number) => String(number).padStart(2, "0");
  const start = hours ? `${hours}:${pad(minutes % 60)}` : `${minutes}`;
  return `${start}:${pad(Math.floor(rest / 10))}.${rest % 10}`;
}

const formatShare = (share) => (share === null ? "–" : `${Math.round(100 * share)}%`);

/** Return the last index at which the rising numbers are at most the value, or 0. */
function findLast(numbers, value) {
  let low = 0, high = numbers.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (numbers[middle] <= value) low = middle; else high = middle;
  }
  return low;
}

function listFrames(frames) {
  if (Array.isArray(frames)) return frames;
  return Array.from({ length: frames.count }, (_, index) => frames.start + index * frames.interval);
}

function start(data) {
  const times = listFrames(data.frames);
  const panels = [...document.querySelectorAll(".panel")];
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const sliders = panels.map((panel) => panel.querySelector(".slider"));
  const rows = panels.map((panel) => [...panel.querySelectorAll(".segments tbody tr")]);
  const segmentStarts = data.people.map((each) => each.segments.map(([from]) => from));
  const bars = [...document.querySelectorAll(".now .bars tr")];
  const find = (name) => document.getElementById(`now-${name}`);
  const readout = { time: find("time"), emotion: find("emotion"), probability: find("probability"), agreement: find("agreement") };
  let person = 0, shown = -1, current = null;

  const ROUNDING = 0.0005;  // s; some files keep times in whole ms
  const frameAt = (time) => findLast(times, time + ROUNDING);
  const valuesAt = (who, frame) => data.people[who].rows[findLast(data.people[who].starts, frame)];

  function describe(values) {
    const top = values[0] === null ? -1 : values.slice(0, 7).indexOf(Math.max(...values.slice(0, 7)));
    return { emotion: top < 0 ? "no face" : data.emotions[top], probability: top < 0 ? null : values[top], agreement: values[7] };
  }

  function show(frame) {
    shown = frame;
    const time = times[frame], values = valuesAt(person, frame), now = describe(values);
    readout.time.textContent = formatTime(time);
    readout.emotion.textContent = now.emotion;
    readout.probability.textContent = formatShare(now.probability);
    readout.agreement.textContent = formatShare(now.agreement);
    bars.forEach((bar, index) => {
      bar.querySelector("span").style.width = `${100 * (values[index] ?? 0)}%`;
      bar.querySelector(".number").textContent = formatShare(values[index]);
    });
    const agreement = now.agreement === null ? "" : `, heads agree ${formatShare(now.agreement)}`;
    const words = now.probability === null ? "" : `, ${formatShare(now.probability)}${agreement}`;
    sliders[person].firstElementChild.style.left = `${(100 * time) / data.end}%`;
    sliders[person].setAttribute("aria-valuenow", time.toFixed(2));
    sliders[person].setAttribute("aria-valuetext", `${formatTime(time)}, ${now.emotion}${words}`);
    const segment = rows[person][findLast(segmentStarts[person], time + ROUNDING)];
    if (segment !== current) {
      current?.removeAttribute("aria-current");
      segment.setAttribute("aria-current", "true");
      current = segment;
    }
  }

  /** Show a frame and take the video to its middle, where no rounding leads to another. */
  function seekFrame(frame) {
    const index = Math.min(Math.max(frame, 0), times.length - 1);
    video.currentTime = (times[index] + (times[index + 1] ?? data.end)) / 2;
    show(index);
  }
  const seek = (time) => seekFrame(frameAt(time));

  const follow = (time) => { if (!video.seeking && frameAt(time) !== shown) show(frameAt(time)); };
  if (video.requestVideoFrameCallback) {
    const onFrame = (_, frame) => { follow(frame.mediaTime); video.requestVideoFrameCallback(onFrame); };
    video.requestVideoFrameCallback(onFrame);
  } else {
    video.addEventListener("timeupdate", () => follow(video.currentTime));
  }
  video.addEventListener("seeking", () => show(frameAt(video.currentTime)));

  function onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const direction = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (direction && event.shiftKey) seekFrame(shown + direction);
    else if (direction) seek(times[shown] + direction);
    else if (event.key === "PageUp" || event.key === "PageDown") seek(times[shown] + (event.key === "PageUp" ? 10 : -10));
    else if (event.key === "Home") seekFrame(0);
    else if (event.key === "End") seekFrame(times.length - 1);
    else if (event.key === " ") video.paused ? video.play() : video.pause();
    else return;
    event.preventDefault();
  }

  function choose(index) {
    person = index;
    panels.forEach((panel, number) => { panel.hidden = number !== index; });
    tabs.forEach((tab, number) => {
      tab.setAttribute("aria-selected", String(number === index));
      tab.tabIndex = number === index ? 0 : -1;
    });
    show(Math.max(shown, 0));
  }

  function onTabKey(event) {
    const count = tabs.length;
    const target = { ArrowRight: (person + 1) % count, ArrowLeft: (person + count - 1) % count, Home: 0, End: count - 1 }[event.key];
    if (target === undefined) return;
    choose(target);
    tabs[person].focus();
    event.preventDefault();
  }

  async function copySegments(button, segments) {
    const quote = button.dataset.copy;
    const lines = segments.map(([from, to, emotion, confidence]) =>
      [from, to, emotion === null ? "" : data.emotions[emotion], confidence === null ? "" : confidence.toFixed(4)].join(quote));
    const text = [["from_s", "to_s", "emotion", "confidence"].join(quote), ...lines].join("\n") + "\n";
    button.parentElement.querySelector("[role=status]").textContent = (await copyText(text)) ? "Copied." : "Copying failed.";
  }

  sliders.forEach((slider) => {
    const toTime = (event) => {
      const box = slider.getBoundingClientRect();
      return (data.end * (event.clientX - box.left)) / box.width;
    };
    slider.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      slider.setPointerCapture(event.pointerId);
      seek(toTime(event));
    });
    slider.addEventListener("pointermove", (event) => { if (slider.hasPointerCapture(event.pointerId)) seek(toTime(event)); });
    slider.addEventListener("keydown", onKey);
    slider.hidden = false;
  });
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => choose(index));
    tab.addEventListener("keydown", onTabKey);
  });
  panels.forEach((panel, index) => {
    panel.querySelectorAll(".jump").forEach((jump) => jump.addEventListener("click", () => seek(Number(jump.dataset.time))));
    panel.querySelectorAll("[data-copy]").forEach((button) =>
      button.addEventListener("click", () => copySegments(button, data.people[index].segments)));
    panel.querySelectorAll(".buttons, .hint").forEach((part) => { part.hidden = false; });
    panel.querySelectorAll(".key").forEach((key) =>
      key.addEventListener("click", () => key.setAttribute("aria-pressed", String(key.getAttribute("aria-pressed") !== "true"))));
    if (tabs.length) {
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tabs[index].id);
    }
  });
  document.querySelector(".now").hidden = false;
  if (tabs.length) {
    document.querySelector("[role=tablist]").hidden = false;
    document.body.classList.add("tabbed");
  }
  choose(0);
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    return isDone;
  }
}

const holder = document.getElementById("data");
if (holder) start(JSON.parse(holder.textContent));
