/**
 * Speaks MCP with a server over Streamable HTTP, as a client that uses only tools.
 *
 * It does not use the official client, because numbers must keep their exact digits, limits are checked before a message is
 * parsed, and each tool call has a bounded number of requests.
 */

import { pause } from '../../../kit/async/pause.ts';
import { raceAbort } from '../../../kit/async/race-abort.ts';
import { encodeUtf8, toBase64 } from '../../../kit/http/bytes.ts';
import { isObject, type JsonObject, toJsonText } from '../../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../../kit/json/remembered-text.ts';
import { formatServerMessage, McpFault } from './mcp-fault.ts';
import { type OnBytesRead, readRpcMessages, type StreamPosition } from './read-messages.ts';

/** A server, and how it is reached. */
export interface McpServer {
  url: string;
  /** The caller's own headers, with their secrets. */
  headers: Headers;
  fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** Keeps a message alive that is sent in the background. Absent in an object, where no work ends with the response. */
  waitUntil?(work: Promise<unknown>): void;
}

/** How an answer is waited for and read. */
export interface RpcRequestOptions {
  signal: AbortSignal;
  take: OnBytesRead;
}

/** The versions of the protocol that this client supports. It offers the first one. */
const VERSIONS: readonly unknown[] = ['2025-11-25', '2025-06-18', '2025-03-26'];
/** From this version on there are no sessions: each request itself contains what a session would have agreed on. */
const WITHOUT_SESSION = '2026-07-28';
const PROTOCOL_META = 'io.modelcontextprotocol/';
/** The most bytes that a server may send before tools are requested. */
const MOST_GREETING_BYTES = 256 * 1024;
/** Milliseconds that a message in the background may take. */
const NOTICE_MS = 5_000;
/** How many of a server's requests are answered during one call. Without a limit it could make this edge send for ever. */
const MOST_ASKED = 100;
const SHORTEST_RETRY_MS = 1_000;
const CLIENT = { name: 'sluice', version: '0.1.0' };
const METHOD_NOT_FOUND = -32_601;
/** The code of a server that supports other versions. */
const OTHER_VERSION = -32_022;
/** Codes which mean that this version does not know a request. The last two are used by servers of earlier versions. */
const UNKNOWN_REQUEST: readonly unknown[] = [METHOD_NOT_FOUND, OTHER_VERSION, -32_600, -32_000];

export class McpSession {
  readonly #server: McpServer;
  #id: string | undefined;
  #version: string | undefined;
  #requests = 0;
  /** Why the server has not opened a session, until it answers a request without one. */
  #refused: McpFault | undefined;

  private constructor(server: McpServer) {
    this.#server = server;
  }

  /** Opens a session. @throws McpFault, the error of `fetch`, or the reason of the signal */
  static async open(server: McpServer, signal: AbortSignal): Promise<McpSession> {
    const session = new McpSession(server);
    try {
      await session.#initialize(signal);
    } catch (thrown) {
      session.close();
      throw thrown;
    }
    return session;
  }

  async #initialize(signal: AbortSignal): Promise<void> {
    const params = { protocolVersion: VERSIONS[0], capabilities: {}, clientInfo: CLIENT };
    const asking = { signal, take: createByteLimiter(MOST_GREETING_BYTES) };
    try {
      const { protocolVersion } = await this.sendRequest('initialize', params, asking);
      if (!VERSIONS.includes(protocolVersion)) {
        const words = `It does not support any MCP version that Sluice supports: ${VERSIONS.join(', ')}, ${WITHOUT_SESSION}.`;
        throw new McpFault(words, { code: OTHER_VERSION });
      }
      this.#version = String(protocolVersion);
    } catch (thrown) {
      if (!(thrown instanceof McpFault && isPossiblySessionlessServer(thrown))) throw thrown;
      this.#version = WITHOUT_SESSION;
      this.#id = undefined;
      this.#refused = thrown;
      return;
    }
    await cancelBody(await this.#postMessage({ method: 'notifications/initialized' }, signal));
  }

  /**
   * Sends a request to the server.
   *
   * @returns the result
   * @throws McpFault for an error of the server, or if it does not answer; also the errors of `fetch` and `take`
   */
  async sendRequest(method: string, params: JsonObject, asking: RpcRequestOptions): Promise<JsonObject> {
    this.#requests += 1;
    const id = this.#requests;
    const { signal } = asking;
    signal.throwIfAborted();
    try {
      const message = this.#hasNoSession ? { id, method, params: addProtocolVersion(params) } : { id, method, params };
      const mirrored = this.#hasNoSession ? createMcpRoutingHeaders(method, params) : {};
      const result = requireRpcResult(
        await this.#readResponseMessage(await this.#postMessage(message, signal, mirrored), id, asking),
      );
      this.#refused = undefined;
      return result;
    } catch (thrown) {
      // Throw the server's error to `initialize`: the server supports neither sessions nor calls without a session, and that
      // error explains more.
      if (this.#refused && thrown instanceof McpFault && !isRequestLevelError(thrown)) throw this.#refused;
      // Send a cancellation, because disconnecting does not cancel a request in a session. The request `initialize` must not be
      // cancelled: https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities
      if (signal.aborted && this.#version !== undefined && !this.#hasNoSession) {
        this.#sendNotification({
          method: 'notifications/cancelled',
          params: { requestId: id, reason: 'no longer needed' },
        });
      }
      throw thrown;
    }
  }

  /** Ends the session, if there is one. This is done in the background, because servers delete idle sessions anyway. */
  close(): void {
    if (this.#id === undefined) return;
    this.#sendInBackground((signal) => this.#fetchServer('DELETE', signal));
  }

  /** @returns the message that answers a request, on whichever stream it comes */
  async #readResponseMessage(first: Response, id: number, asking: RpcRequestOptions): Promise<JsonObject> {
    this.#id ??= first.headers.get('mcp-session-id') ?? undefined;
    const { signal, take } = asking;
    let response = first;
    let polls = 0;
    const place: StreamPosition = {};
    for (;;) {
      try {
        for await (const message of readRpcMessages(response, take, place)) {
          const isAsked = typeof message.method === 'string';
          if (!isAsked && message.id === id) return message;
          if (!isAsked || message.id === undefined || polls >= MOST_ASKED) continue;
          polls += 1;
          this.#sendNotification(createServerRequestResponse(message));
        }
      } catch (thrown) {
        // Resume a broken stream in the same way as a stream that the server has ended.
        if (thrown instanceof McpFault || signal.aborted || place.lastId === undefined) throw thrown;
      }
      // Reconnect: a server may end its stream before it responds, and send the response after the client has reconnected.
      // https://modelcontextprotocol.io/specification/2025-03-26/basic/transports#resumability-and-redelivery
      const { lastId, retryMs = 0 } = place;
      if (lastId === undefined || this.#hasNoSession)
        throw new McpFault('It closed the connection without a response.', { mayPass: true });
      await pause(Math.max(SHORTEST_RETRY_MS, retryMs), signal);
      response = await this.#fetchServer('GET', signal, { 'last-event-id': lastId });
    }
  }

  get #hasNoSession(): boolean {
    return this.#version === WITHOUT_SESSION;
  }

  /** Sends a message that needs no response, in the background. It does no harm if it is lost. */
  #sendNotification(message: JsonObject): void {
    this.#sendInBackground((signal) => this.#postMessage(message, signal));
  }

  #sendInBackground(send: (signal: AbortSignal) => Promise<Response>): void {
    const sending = send(AbortSignal.timeout(NOTICE_MS))
      .then(cancelBody)
      .catch(() => {});
    this.#server.waitUntil?.(sending);
  }

  #postMessage(message: JsonObject, signal: AbortSignal, headers: Record<string, string> = {}): Promise<Response> {
    const more = { 'content-type': 'application/json', ...headers };
    return this.#fetchServer('POST', signal, more, { jsonrpc: '2.0', ...message });
  }

  async #fetchServer(method: string, signal: AbortSignal, more: Record<string, string> = {}, message?: JsonObject) {
    const { url, fetch } = this.#server;
    const headers = new Headers(this.#server.headers);
    const own = {
      accept: method === 'GET' ? 'text/event-stream' : 'application/json, text/event-stream',
      'user-agent': 'sluice',
      ...more,
      ...(this.#id === undefined ? {} : { 'mcp-session-id': this.#id }),
      ...(this.#version === undefined ? {} : { 'mcp-protocol-version': this.#version }),
    };
    for (const [name, value] of Object.entries(own)) headers.set(name, value);
    const body = message === undefined ? null : stringifyWithRememberedTexts(message);
    const response = await fetch(url, { method, headers, body, redirect: 'manual', signal });
    const { status } = response;
    if (status < 300) return response;
    await cancelBody(response);
    if (status < 400) throw new McpFault('It responded with a redirect, which Sluice does not follow.', { status });
    throw new McpFault(`It responded with ${status}.`, { status, mayPass: status >= 500 || status === 429 });
  }
}

/** @returns a function that counts the bytes of an answer, and throws a McpFault if there are too many. */
export function createByteLimiter(most: number): OnBytesRead {
  let left = most;
  return (bytes) => {
    left -= bytes;
    if (left < 0) throw new McpFault(`Its response has more than ${most} bytes.`);
  };
}

async function cancelBody({ body }: Response): Promise<void> {
  await body?.cancel();
}

/** @returns the answer to a server that sends a request to this client. */
function createServerRequestResponse({ id, method }: JsonObject): JsonObject {
  if (method === 'ping') return { id, result: {} };
  return { id, error: { code: METHOD_NOT_FOUND, message: 'This client has no such method.' } };
}

/** Statuses that are unrelated to sessions: the server requires other credentials, or fewer requests. */
const OF_CREDENTIALS_OR_LIMITS: readonly number[] = [401, 403, 429];

/** @returns whether a server that answers `initialize` like this may support only versions without sessions */
function isPossiblySessionlessServer({ status = 0, code }: McpFault): boolean {
  return code !== undefined || (status >= 400 && status < 500 && !OF_CREDENTIALS_OR_LIMITS.includes(status));
}

/**
 * @returns whether an error is a response to the request itself, and does not mean that the server does not know such requests
 */
function isRequestLevelError({ code }: McpFault): boolean {
  return code !== undefined && !UNKNOWN_REQUEST.includes(code);
}

function addProtocolVersion({ _meta, ...params }: JsonObject): JsonObject {
  return {
    ...params,
    _meta: {
      ...(isObject(_meta) ? _meta : {}),
      [`${PROTOCOL_META}protocolVersion`]: WITHOUT_SESSION,
      [`${PROTOCOL_META}clientInfo`]: CLIENT,
      [`${PROTOCOL_META}clientCapabilities`]: {},
    },
  };
}

/** @returns headers that repeat the requested method and name, so that a proxy before the server need not read the body. */
function createMcpRoutingHeaders(method: string, { name }: JsonObject): Record<string, string> {
  if (typeof name !== 'string') return { 'mcp-method': method };
  const isPlain = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(name) && !name.startsWith('=?base64?');
  return { 'mcp-method': method, 'mcp-name': isPlain ? name : `=?base64?${toBase64(encodeUtf8(name))}?=` };
}

function requireRpcResult({ result, error }: JsonObject): JsonObject {
  if (isObject(error)) {
    const { code = null, message } = error;
    throw new McpFault(
      `It returned an error: ${formatServerMessage(message) || formatServerMessage(toJsonText(code))}`,
      { code },
    );
  }
  if (!isObject(result)) throw new McpFault('Its response is not JSON-RPC.');
  if (result.resultType === 'input_required') {
    throw new McpFault('It sent a request to the client, which Sluice does not support.');
  }
  return result;
}

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
      opening.catch(() => this.#forgetOpening(key, opening));
    }
    return await raceAbort(opening, signal);
  }

  /** Forgets a session that its server has lost. */
  async forgetLostSession(key: string, session: McpSession): Promise<void> {
    const opening = this.#opened.get(key);
    if (opening && (await opening) === session) this.#forgetOpening(key, opening);
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

  #forgetOpening(key: string, opening: Promise<McpSession> | undefined): void {
    if (this.#opened.get(key) === opening) this.#opened.delete(key);
  }
}
