import { joinedPieces } from '../../../src/edge/kit/http/body-pieces.ts';

interface Env {
  ANTHROPIC_BASE_URL: string;
}

const IDLE_MS = 60_000;
const END_MS = 25;
const BUFFER_BYTES = 65_536;
const NOT_UP = new Set(['authorization', 'host', 'connection', 'content-length', 'accept-encoding']);
const NOT_DOWN = new Set(['connection', 'keep-alive', 'transfer-encoding', 'content-length']);
const spare: ArrayBuffer[] = [];

/**
 * The least relay that does what every relay must: it reads the request, sends only some headers each way, gives up when the
 * caller leaves or the upstream is silent, reads the answer, waits a moment for its end, and writes a line of log. It has
 * nothing else: it checks nothing, knows nobody, and counts nothing. It is for answers that come at once, since it gathers them.
 */
export default {
  async fetch(request: Request, env: Env, context: ExecutionContext): Promise<Response> {
    const started = Date.now();
    const { promise: closed, resolve: close } = Promise.withResolvers<void>();
    context.waitUntil(closed);
    const controller = new AbortController();
    const leave = () => controller.abort();
    request.signal.addEventListener('abort', leave, { once: true });
    const watchdog = setTimeout(leave, IDLE_MS);
    const { pathname } = new URL(request.url);
    const response = await fetch(env.ANTHROPIC_BASE_URL + pathname, {
      method: 'POST',
      headers: { ...without(request.headers, NOT_UP), 'x-api-key': 'bench', 'accept-encoding': 'identity' },
      body: await request.text(),
      redirect: 'manual',
      signal: controller.signal,
    });
    const bytes = response.body ? await gathered(response.body) : undefined;
    clearTimeout(watchdog);
    request.signal.removeEventListener('abort', leave);
    const requestId = crypto.randomUUID();
    const { status } = response;
    console.log(JSON.stringify({ request_id: requestId, route: pathname, status, ms: Date.now() - started }));
    close();
    const headers = { ...without(response.headers, NOT_DOWN), 'sluice-request-id': requestId };
    return new Response(bytes, { status, headers });
  },
};

function without(headers: Headers, names: ReadonlySet<string>): Record<string, string> {
  const rest: Record<string, string> = {};
  headers.forEach((value, name) => {
    if (!names.has(name)) rest[name] = value;
  });
  return rest;
}

async function gathered(body: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const reader = body.getReader({ mode: 'byob' });
  const pieces: Uint8Array[] = [];
  for (;;) {
    const read = reader.read(new Uint8Array(spare.pop() ?? new ArrayBuffer(BUFFER_BYTES)));
    const piece = await (pieces.length === 0 ? read : soon(read));
    if (piece?.value === undefined || piece.done) break;
    pieces.push(piece.value.slice());
    spare.push(piece.value.buffer as ArrayBuffer);
  }
  const [first, ...others] = pieces;
  return first && others.length === 0 ? first : joinedPieces(pieces);
}

/** @returns what a promise gives; undefined if that takes too long. */
function soon<T>(coming: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, END_MS, undefined);
    coming.then((value) => {
      clearTimeout(timer);
      resolve(value);
    }, reject);
  });
}
