import { orAborted } from '../../kit/async/or-aborted.ts';
import { type McpServer, McpSession } from './session.ts';

/** Milliseconds that a server may take to open a session. */
const OPENING_MS = 30_000;

/** The sessions of a run: one for each server, opened at its first call. */
export class McpSessions {
  readonly #opened = new Map<string, Promise<McpSession>>();
  readonly #closed = new AbortController();

  /**
   * Returns the session with a server. Calls at the same time share its opening, so the end of one call must not stop the
   * opening.
   *
   * @param key identifies the server and its headers
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

  /** Forgets a session that its server has lost. */
  async drop(key: string, session: McpSession): Promise<void> {
    const opening = this.#opened.get(key);
    if (opening && (await opening) === session) this.#forget(key, opening);
  }

  /** Ends all sessions. */
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
