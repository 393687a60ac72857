(() => {
  const every = 2000;
  const at = id => document.getElementById(id);
  const main = document.querySelector("main");
  let answered = new Date(), looking = false, timer;

  // show takes over what changed, but leaves alone what somebody marks to copy.
  function show(text) {
    const next = new DOMParser().parseFromString(text, "text/html").querySelector("main");
    if (!next) throw new Error("it was somebody else who answered");
    answered = new Date();
    at("lost").hidden = true;
    main.classList.remove("old");
    const marked = String(getSelection()) !== "" && next.dataset.said === main.dataset.said;
    if (marked) return;
    if (next.dataset.said !== main.dataset.said) at("said").textContent = next.dataset.said;
    document.title = next.dataset.title;
    at("icon").href = next.dataset.icon;
    main.className = next.className;
    Object.assign(main.dataset, next.dataset);
    main.replaceChildren(...next.childNodes);
  }

  function lose() {
    if (at("lost").hidden) {
      at("lost").textContent = "No answer from the sidecar since " + answered.toISOString().slice(11, 19) +
        "Z: what stands below is as old. Is kubectl port-forward still running? Asking again every 2 seconds.";
      at("lost").hidden = false;
    }
    main.classList.add("old");
    document.title = "No answer - Vault";
  }

  async function look() {
    if (looking || document.hidden) return;
    looking = true;
    clearTimeout(timer);
    try {
      const answer = await fetch("/?part=main", { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error("status " + answer.status);
      show(await answer.text());
    } catch {
      lose();
    }
    looking = false;
    timer = setTimeout(look, every);
  }

  document.addEventListener("visibilitychange", look);
  timer = setTimeout(look, every);
})();
