// Talks to the node. The key is sent once; then a cookie stands for it that no script can read.
const SIGNED_IN = "fedprofile-signed-in";

export class Problem extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.remedy = error.remedy || "";
  }
}

export const signedIn = () => localStorage.getItem(SIGNED_IN) !== null;

export async function signIn(key) {
  await ask("/api/login", "POST", { "X-API-Key": key });
  localStorage.setItem(SIGNED_IN, "yes");
}

export async function signOut() {
  localStorage.removeItem(SIGNED_IN);
  await ask("/api/logout", "POST").catch(() => {}); // a session that is over needs no end
}

async function ask(path, method, headers = {}) {
  let answer;
  try {
    answer = await fetch(path, { method, headers, cache: "no-store", credentials: "same-origin" });
  } catch {
    throw new Problem(0, { message: "the node does not answer", remedy: "start it and load again" });
  }
  if (answer.ok) return answer;
  if (answer.status === 401) localStorage.removeItem(SIGNED_IN);
  const content = await answer.json().catch(() => ({}));
  throw new Problem(answer.status, content.error || { message: `status ${answer.status}` });
}

export const get = async (path) => (await ask(path, "GET")).json();
export const post = async (path) => (await ask(path, "POST")).json();
export const getText = async (path) => (await ask(path, "GET")).text();

// An id may hold any text; it stays one part of the path.
export const part = (id) => encodeURIComponent(id);

const items = new Map();

// Returns an item, asked for once a view.
export function item(id) {
  if (!items.has(id)) {
    items.set(id, get(`/api/items/${part(id)}`).catch((error) => {
      items.delete(id);
      if (error.status !== 404) throw error;
      return { item_id: id, text: "", category: "", brand: "" }; // deleted meanwhile
    }));
  }
  return items.get(id);
}

export const forgetItems = () => items.clear();
