import { bearerHeader } from './tokens.ts';

/** The most streams that can follow a conversation, as docs/frontends.md states. */
const MAX_FOLLOWERS = 32;

/**
 * Counts the streams that follow a conversation, by how many more Sluice accepts. Closes these again.
 *
 * @throws Error if no turn is running, because its streams have ended then
 */
export async function countFollowers(url: string, token: string, conversation: string): Promise<number> {
  const closing = new AbortController();
  const stream = `${url}/conversations/${conversation}/stream`;
  try {
    for (let accepted = 0; ; accepted += 1) {
      const { status } = await fetch(stream, { headers: bearerHeader(token), signal: closing.signal });
      if (status === 429) return MAX_FOLLOWERS - accepted;
      if (status !== 200) throw new Error(`Expected a running turn, but its stream returned ${status}.`);
    }
  } finally {
    closing.abort();
  }
}
