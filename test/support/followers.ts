import { expect } from 'vitest';
import { eventually } from './eventually.ts';
import { bearerHeader } from './tokens.ts';

/** The most streams that can follow a conversation, as docs/frontends.md states. */
const MAX_FOLLOWERS = 32;

/**
 * Counts the streams that follow a conversation, by how many more Sluice accepts. Closes these again, and waits until Sluice
 * has noticed, which is when it next writes to them: until then, Sluice would reject a page that resumes.
 *
 * @throws Error if no turn is running, because its streams have ended then
 */
export async function countFollowers(url: string, token: string, conversation: string): Promise<number> {
  const follow = async ({ signal }: AbortController) => {
    const response = await fetch(`${url}/conversations/${conversation}/stream`, {
      headers: bearerHeader(token),
      signal,
    });
    return response.status;
  };
  const closing = new AbortController();
  let accepted = 0;
  try {
    for (let status = await follow(closing); status !== 429; status = await follow(closing)) {
      if (status !== 200) throw new Error(`Expected a running turn, but its stream returned ${status}.`);
      accepted += 1;
    }
  } finally {
    closing.abort();
  }
  await eventually(async () => {
    const leaving = new AbortController();
    const status = await follow(leaving);
    leaving.abort();
    expect(status).not.toBe(429);
  });
  return MAX_FOLLOWERS - accepted;
}
