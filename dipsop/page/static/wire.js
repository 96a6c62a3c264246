// What the page asks of the server. Every refusal is an Error with the server's sentence.

let tab = "";

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer: start dipsop page again, then reload.");
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    const error = new Error(sentence(said.error ?? `The server failed (${answer.status}): reload the page.`));
    error.status = answer.status;
    throw error;
  }
  return answer.status === 204 ? null : answer.json();
}

// A sentence begins with a capital letter, but a file has the name that it has.
export const sentence = (text, name = null) =>
  /^[a-z]+ /.test(text) && !(name && text.startsWith(name)) ? text.charAt(0).toUpperCase() + text.slice(1) : text;

const picture = (key) => `/tabs/${tab}/pictures/${key}`;
const post = (path, said) => ask(path, { method: "POST", body: said === undefined ? undefined : JSON.stringify(said) });

export const about = () => ask("/about");
export const open = async () => { tab = (await post("/tabs")).tab; };
export const told = async () => (await ask(`/tabs/${tab}`)).pictures;
export const upload = (file, signal) =>
  ask(`/tabs/${tab}/pictures?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file, signal });
export const start = (key, choice) => post(`${picture(key)}/start`, choice);
export const stop = (key) => post(`${picture(key)}/stop`);
export const command = async (key, choice, stay) => (await post(`${picture(key)}/command?stay=${stay}`, choice)).command;
export const remove = (key) => ask(picture(key), { method: "DELETE" });
export const paint = (key, layer, blob) => ask(`${picture(key)}/brush/${layer}`, { method: "PUT", body: blob });
export const look = (key, name, version) => `${picture(key)}/looks/${name}?${version}`;
export const file = (key, part, version) => `${picture(key)}/files/${part}?${version}`;
export const zip = () => `/tabs/${tab}/all.zip`;
export const close = () => { if (tab) fetch(`/tabs/${tab}/close`, { method: "POST", keepalive: true }); };
