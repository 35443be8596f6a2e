import { orAborted } from '../../async/or-aborted.ts';
import { type McpServer, McpSession } from './session.ts';

/** How long a server may take to open a session. */
const OPENING_MS = 30_000;

/** The sessions of a run: one for each server, opened when it is first called. */
export class McpSessions {
  readonly #opened = new Map<string, Promise<McpSession>>();
  readonly #closed = new AbortController();

  /**
   * Gives the session with a server. Calls that are made at the same time share its opening, so a call that ends stops none.
   *
   * @param key tells servers and their headers apart
   * @throws as `McpSession.open`; the reason of the signal
   */
  async get(key: string, server: McpServer, signal: AbortSignal): Promise<McpSession> {
    let opening = this.#opened.get(key);
    if (!opening) {
      opening = McpSession.open(server, AbortSignal.any([this.#closed.signal, AbortSignal.timeout(OPENING_MS)]));
      this.#opened.set(key, opening);
      opening.catch(() => this.#forget(key, opening));
    }
    return await orAborted(opening, signal);
  }

  /** Forgets a session that its server does not know any more. */
  async drop(key: string, session: McpSession): Promise<void> {
    const opening = this.#opened.get(key);
    if (opening && (await opening) === session) this.#forget(key, opening);
  }

  /** Ends all of them. */
  close(): void {
    this.#closed.abort();
    for (const opening of this.#opened.values()) {
      opening.then(
        (session) => session.close(),
        () => {},
      );
    }
    this.#opened.clear();
  }

  #forget(key: string, opening: Promise<McpSession> | undefined): void {
    if (this.#opened.get(key) === opening) this.#opened.delete(key);
  }
}
