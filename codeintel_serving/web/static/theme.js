// Runs before the first paint, so that a chosen theme does not flash.
"use strict";
{
  const chosen = localStorage.getItem("codeintel-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
}
