// The two tabs of the page: pictures, and labels in a frame of their own.

import { about as ask } from "./wire.js";

const at = (id) => document.getElementById(id);

export function wireTabs(about) {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const open = async (tab) => {
    for (const each of tabs) {
      each.setAttribute("aria-selected", each === tab);
      each.tabIndex = each === tab ? 0 : -1;
      at(each.getAttribute("aria-controls")).hidden = each !== tab;
    }
    tab.focus();
    if (tab.id === "tab-labels" && !at("labels").querySelector("iframe")) // they may have come meanwhile
      at("labels").replaceChildren(labels(await ask().catch(() => about)));
  };
  for (const tab of tabs) {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") open(tabs[1 - tabs.indexOf(tab)]);
    });
  }
}

function labels({ labels: { address, sentence } }) {
  const child = document.createElement(address ? "iframe" : "p");
  if (address) Object.assign(child, { src: address, title: "Labels to look through" });
  else child.textContent = sentence;
  return child;
}
