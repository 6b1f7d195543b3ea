// Requests to the service. The token, where there is one, is in the address after `#token=`.
import { words } from "./words.js";

const token = new URLSearchParams(location.hash.slice(1)).get("token");

export const withToken = (address) => (token ? `${address}?token=${encodeURIComponent(token)}` : address);

export async function ask(method, address, body) {
  const options = { method, headers: {} };
  if (token) options.headers.authorization = `Bearer ${token}`;
  if (body instanceof Blob) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["content-type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error(words.unreachable);
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => null);
    throw new Error(said?.error?.message ?? `${answer.status} ${answer.statusText}`);
  }
  return answer;
}

// The piece, again and again, until it has ended.
export function watch(id, changed, lost) {
  const source = new EventSource(withToken(`v1/jobs/${id}/events`));
  source.onmessage = (event) => {
    const job = JSON.parse(event.data);
    if (["done", "failed", "cancelled"].includes(job.state)) source.close();
    changed(job);
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) lost();
  };
  return () => source.close();
}
