// Questions that have to be answered before something is done.
import { h } from "./dom.js";
import { session, signIn as openSession } from "./api.js";

const place = () => document.getElementById("dialogs");

/** Open a dialog; resolves with what `work` returned, or null when it was left. `work` may throw a Problem to show. */
function open(title, content, button, work) {
  return new Promise((resolve) => {
    const fault = h("p", { class: "notice trouble", role: "alert", hidden: true });
    const go = h("button", { class: "button first", type: "submit" }, button);
    const dialog = h(
      "dialog",
      { "aria-labelledby": "dialog-title" },
      h(
        "form",
        {
          onsubmit: async (event) => {
            event.preventDefault();
            go.disabled = true;
            try {
              const answer = await work(new FormData(event.target));
              end(answer ?? true);
            } catch (error) {
              fault.textContent = error.message;
              fault.hidden = false;
              go.disabled = false;
            }
          },
        },
        h("h2", { id: "dialog-title" }, title),
        content,
        fault,
        h("div", { class: "row" },
          h("button", { class: "button", type: "button", onclick: () => end(null) }, "Cancel"), go),
      ),
    );
    const end = (answer) => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    dialog.oncancel = (event) => {
      event.preventDefault();
      end(null);
    };
    place().append(dialog);
    dialog.showModal();
  });
}

/** Ask before something is done; `work` gets the form, in which `more` are further fields. */
export function confirm(title, sentences, button, work, more = null) {
  return open(title, [sentences.filter(Boolean).map((text) => h("p", {}, text)), more], button, work);
}

export const why = () => h("label", { class: "field" }, "Why",
  h("input", { name: "why", maxlength: 300, autocomplete: "off" }),
  h("span", { class: "quiet" }, "Stands in the run's record with your name, for auditors. May be empty."));

/** The fields of signing in, for the dialog and for the page of its own. */
export function signInFields() {
  return [
    h("label", { class: "field" }, "Token",
      h("input", { name: "token", type: "password", required: true, autocomplete: "current-password", autofocus: true }),
      h("span", { class: "quiet" }, "From the configuration, under [DASHBOARD].")),
    session?.asks_name ? h("label", { class: "field" }, "Your name",
      h("input", { name: "user", autocomplete: "username", maxlength: 60 }),
      h("span", { class: "quiet" }, "Goes into the log as what you say.")) : null,
  ];
}

export const signIn = (form) => openSession(form.get("token"), form.get("user") ?? "");

export const askToSignIn = () => open("Sign in", signInFields(), "Sign in", signIn);
