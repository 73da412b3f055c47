// Talks to the node; the key lives in this tab's session alone.
const KEY = "fedprofile-api-key";

export class Problem extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.remedy = error.remedy || "";
  }
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const setKey = (key) => sessionStorage.setItem(KEY, key);
export const forgetKey = () => sessionStorage.removeItem(KEY);

async function ask(path, method) {
  const headers = hasKey() ? { "X-API-Key": sessionStorage.getItem(KEY) } : {};
  let answer;
  try {
    answer = await fetch(path, { method, headers, cache: "no-store", credentials: "omit" });
  } catch {
    throw new Problem(0, { message: "the node does not answer", remedy: "start it and load again" });
  }
  if (answer.ok) return answer;
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
