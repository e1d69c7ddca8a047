// The dialog that confirms an action, and the message that reports its outcome.

import { button, byId, make, put } from "./dom.js";

/** Asks whether to do something. `act` runs if the user agrees; its error is shown in the dialog. */
export function confirm({ title, text, action, done, act }) {
  const dialog = byId("dialog");
  const wrong = make("p", { class: "bad", role: "alert" });
  const go = button(action, async () => {
    go.disabled = true;
    try {
      await act();
      dialog.close();
      say(done);
    } catch (error) {
      put(wrong, error.message);
      go.disabled = false;
    }
  }, { class: "danger" });
  const cancel = button("Cancel", () => dialog.close(), { autofocus: true });
  dialog.replaceChildren(make("h2", { id: "dialog-title" }, title), make("p", {}, text), wrong, make("div", { class: "row end" }, cancel, go));
  dialog.showModal();
}

let hiding = 0;

/** Shows a message for a while. */
function say(text) {
  const message = byId("message");
  put(message, text);
  message.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { message.hidden = true; }, 8000);
}
