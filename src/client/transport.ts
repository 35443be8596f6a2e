import { errorIn, SluiceError } from './errors.ts';

export interface ClientOptions {
  /** Where the edge is: `https://edge.example.com`, or where it is mounted below. */
  baseURL: string;
  /**
   * The credential, or what gets one: called at the first request, and once more whenever a token is refused, so that
   * a short-lived one is renewed in the middle of an answer. An edge in development needs none.
   */
  token?: string | (() => string | Promise<string>);
  /** Takes the place of the global `fetch`. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /** Headers of every request. */
  headers?: Record<string, string>;
  /** When a connection counts as lost, and when it is given up. */
  patience?: Partial<Patience>;
}

/** Milliseconds. */
export interface Patience {
  /** So long without a byte, and a connection is lost (45 s; the edge itself is never silent for more than 15). */
  silenceMs: number;
  /** How long a turn is tried to be begun (60 s). */
  beginMs: number;
  /** How long a turn that has begun is tried to be followed (10 minutes; the edge keeps its events no longer). */
  resumeMs: number;
}

export interface Call {
  method?: string;
  /** Sent as JSON, unless it is text already. */
  body?: unknown;
  query?: object | undefined;
  headers?: Record<string, string> | undefined;
  signal?: AbortSignal | undefined;
}

/** Requests to one edge, with a credential that is renewed when it is refused. */
export class Transport {
  readonly patience: Patience;
  readonly #options: ClientOptions;
  #token: Promise<string> | undefined;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.patience = { silenceMs: 45_000, beginMs: 60_000, resumeMs: 600_000, ...options.patience };
  }

  /**
   * @returns the answer, if it is one of success
   * @throws SluiceError as the edge says; `connection_error` if there is no answer; `closed` if the signal was aborted
   */
  async send(path: string, call: Call = {}): Promise<Response> {
    const { token } = this.#options;
    const asked = await this.#tokenNow();
    let response = await this.#fetch(path, call, asked);
    if (response.status === 401 && typeof token === 'function') {
      // Others may have got a new one meanwhile.
      if ((await this.#token) === asked) this.#token = undefined;
      response.body?.cancel().catch(() => {});
      response = await this.#fetch(path, call, await this.#tokenNow());
    }
    if (!response.ok) throw await errorIn(response);
    return response;
  }

  /** @returns the JSON of an answer */
  async json<T>(path: string, call?: Call): Promise<T> {
    const response = await this.send(path, call);
    try {
      return (await response.json()) as T;
    } catch (cause) {
      throw lost(cause, call?.signal);
    }
  }

  async #tokenNow(): Promise<string | undefined> {
    const { token } = this.#options;
    if (typeof token !== 'function') return token;
    const asked = this.#token ?? Promise.resolve().then(token);
    this.#token = asked;
    // What could not be had is asked for again.
    asked.catch(() => {
      if (this.#token === asked) this.#token = undefined;
    });
    return await asked;
  }

  async #fetch(path: string, call: Call, token: string | undefined): Promise<Response> {
    const { method = 'GET', body, query, signal } = call;
    const headers: Record<string, string> = { ...this.#options.headers, ...call.headers };
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    const init: RequestInit = { method, headers };
    if (signal) init.signal = signal;
    if (body !== undefined) {
      headers['content-type'] = 'application/json';
      init.body = typeof body === 'string' ? body : JSON.stringify(body);
    }
    const asked = Object.entries(query ?? {}).filter(([, value]) => value !== undefined);
    const search =
      asked.length > 0 ? `?${new URLSearchParams(asked.map(([name, value]) => [name, String(value)]))}` : '';
    try {
      // Called as a method of something else, a browser's fetch refuses.
      const send = this.#options.fetch ?? ((url: string, all: RequestInit) => fetch(url, all));
      return await send(this.#options.baseURL.replace(/\/+$/, '') + path + search, init);
    } catch (cause) {
      throw lost(cause, signal);
    }
  }
}

/** @returns the error for an answer that did not come, or not whole. */
export function lost(cause: unknown, signal?: AbortSignal | null): SluiceError {
  if (signal?.aborted && !(signal.reason instanceof SluiceError)) {
    return new SluiceError('closed', 'Closed before the answer had ended.', { cause });
  }
  const reason = cause instanceof Error ? ` (${cause.message})` : '';
  return new SluiceError('connection_error', `The connection to the edge failed${reason}.`, { cause });
}
