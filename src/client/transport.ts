import type { EscapedPathSegment, ServedRoutePath } from '../edge/answers.ts';
import { readErrorResponse, SluiceError } from './errors.ts';
import { type GetToken, RenewingToken, validateTokenText } from './renewing-token.ts';

export interface ClientOptions {
  /** The URL of the edge: `https://edge.example.com`, with a path if it is mounted below one. */
  baseURL: string;
  /**
   * The credential, a function that gets one, or that of a `visitor`. The function is called at the first request, and again
   * when its token ends or is rejected, also during an answer. A token that was minted with a `session` is renewed at the edge
   * instead, until the session ends. An edge in development needs no credential.
   */
  token?: string | GetToken | RenewingToken;
  /** Replaces the global `fetch`. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /** Headers for every request. */
  headers?: Record<string, string>;
  /** How long to wait before a connection counts as lost, and before it is not tried again. */
  patience?: Partial<ClientTimeouts>;
}

/** How long to wait, in milliseconds. */
export interface ClientTimeouts {
  /** Without a byte for so long, a connection counts as lost (45 s; the edge sends something at least every 15 s). */
  silenceMs: number;
  /** How long to try to start a turn (60 s). */
  beginMs: number;
  /** How long to try to resume a turn that has started (10 minutes; the edge keeps its events no longer). */
  resumeMs: number;
}

/** Escapes a part of a path. */
export const encodePathSegment = encodeURIComponent as (part: string) => EscapedPathSegment;

/** A call of a route. */
export interface RouteCallOptions {
  method?: string;
  /** Sent as JSON; a string or a `Blob` is sent as it is. */
  body?: unknown;
  query?: object | undefined;
  headers?: Record<string, string> | undefined;
  signal?: AbortSignal | undefined;
  /** Whether a request continues when its page is closed. */
  keepalive?: boolean | undefined;
}

/** Sends requests to one edge, with a credential that is renewed when it is rejected. */
export class Transport {
  readonly timeouts: ClientTimeouts;
  readonly #options: ClientOptions;
  readonly #token: RenewingToken | undefined;

  constructor(options: ClientOptions) {
    this.#options = options;
    const { token } = options;
    this.#token =
      typeof token === 'function' ? this.createRenewingToken(token) : typeof token === 'object' ? token : undefined;
    this.timeouts = { silenceMs: 45_000, beginMs: 60_000, resumeMs: 600_000, ...options.patience };
  }

  /**
   * Sends a request.
   *
   * @returns the answer, if its status is 2xx
   * @throws SluiceError with the edge's error; `connection_error` if there is no answer; `closed` if the signal was aborted
   */
  async sendRequest(path: string, call: RouteCallOptions = {}): Promise<Response> {
    const { token } = this.#options;
    const current = typeof token === 'string' ? validateTokenText(token) : await this.#token?.get();
    let response = await this.#fetchWithToken(path, call, current);
    if (response.status === 401 && this.#token) {
      response.body?.cancel().catch(() => {});
      response = await this.#fetchWithToken(path, call, await this.#token.get(current));
    }
    if (!response.ok) throw await readErrorResponse(response);
    return response;
  }

  /** Sends a request. @returns the JSON of the answer */
  async requestJson<T>(path: ServedRoutePath, call?: RouteCallOptions): Promise<T> {
    const response = await this.sendRequest(path, call);
    try {
      return (await response.json()) as T;
    } catch (cause) {
      throw createConnectionError(cause, call?.signal);
    }
  }

  /** The same as `json`, but gives up a connection that stays silent. */
  async requestJsonWithTimeout<T>(path: ServedRoutePath, call: RouteCallOptions): Promise<T> {
    const { signal } = call;
    const connection = new AbortController();
    const abortRequest = () => connection.abort();
    const silence = createConnectionError(new Error('no answer'));
    const timer = setTimeout(() => connection.abort(silence), this.timeouts.silenceMs);
    signal?.addEventListener('abort', abortRequest);
    if (signal?.aborted) abortRequest();
    try {
      return await this.requestJson<T>(path, { ...call, signal: connection.signal });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abortRequest);
    }
  }

  /** @returns a token that is renewed at this edge */
  createRenewingToken(token: GetToken): RenewingToken {
    return new RenewingToken(token, async (expiringToken) => {
      const bearer = new Transport({ ...this.#options, token: expiringToken });
      return (await bearer.requestJsonWithTimeout<{ token: string }>('/tokens/renew', { method: 'POST' })).token;
    });
  }

  async #fetchWithToken(path: string, call: RouteCallOptions, token: string | undefined): Promise<Response> {
    const { method = 'GET', body, query, signal } = call;
    const headers: Record<string, string> = { ...this.#options.headers, ...call.headers };
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    const init: RequestInit = { method, headers, ...(call.keepalive ? { keepalive: true } : {}) };
    if (signal) init.signal = signal;
    if (body !== undefined) {
      headers['content-type'] = 'application/json';
      init.body = typeof body === 'string' || body instanceof Blob ? body : JSON.stringify(body);
    }
    const parameters = Object.entries(query ?? {}).filter(([, value]) => value !== undefined);
    const search =
      parameters.length > 0 ? `?${new URLSearchParams(parameters.map(([name, value]) => [name, String(value)]))}` : '';
    try {
      // Call the global `fetch` by a function: in browsers it throws `Illegal invocation` if it is called as a method of
      // another object.
      const send = this.#options.fetch ?? ((url: string, all: RequestInit) => fetch(url, all));
      return await send(this.#options.baseURL.replace(/\/+$/, '') + path + search, init);
    } catch (cause) {
      throw createConnectionError(cause, signal);
    }
  }
}

/** @returns the error for a response that did not arrive, or not completely */
export function createConnectionError(cause: unknown, signal?: AbortSignal | null): SluiceError {
  if (signal?.aborted && !(signal.reason instanceof SluiceError)) {
    return new SluiceError('closed', 'The request was closed before the response ended.', { cause });
  }
  const reason = cause instanceof Error ? ` (${cause.message})` : '';
  return new SluiceError(
    'connection_error',
    `The connection to the deployment failed${reason}. Check your network, then try again.`,
    { cause },
  );
}

/** Makes an idempotency key. (`randomUUID` is missing in pages that were not loaded by https.) */
export function createIdempotencyKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
