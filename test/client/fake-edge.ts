import { onTestFinished, vi } from 'vitest';
import { type Client, type ClientOptions, createClient } from '#client/index.ts';

/** A request of the client. */
export interface Sent {
  path: string;
  method: string;
  headers: Headers;
  body: Record<string, unknown> | undefined;
  signal: AbortSignal | undefined;
}

/** A client, the requests that it has sent, and time that passes at once. */
export interface FakeEdge {
  client: Client;
  /** What a client of the test's own may send with. */
  fetch: NonNullable<ClientOptions['fetch']>;
  sent: Sent[];
  /** Lets time pass until something has come to its end. */
  until<T>(work: Promise<T>): Promise<T>;
}

export const BASE_URL = 'https://edge.test/below/';

/** @param answer what the edge says to a request; what it throws is a failure of the network */
export function fakeEdge(
  answer: (sent: Sent, count: number) => Response | Promise<Response>,
  options: Partial<ClientOptions> = {},
): FakeEdge {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const sent: Sent[] = [];
  const fetch: FakeEdge['fetch'] = async (url, init) => {
    const request = {
      path: url.replace('https://edge.test/below', ''),
      method: init.method ?? 'GET',
      headers: new Headers(init.headers),
      body: typeof init.body === 'string' ? (JSON.parse(init.body) as Record<string, unknown>) : undefined,
      signal: init.signal ?? undefined,
    };
    sent.push(request);
    return await answer(request, sent.length);
  };
  const client = createClient({ baseURL: BASE_URL, fetch, ...options });
  return {
    client,
    fetch,
    sent,
    async until(work) {
      let over = false;
      const end = () => {
        over = true;
      };
      work.then(end, end);
      for (let passes = 0; !over && passes < 2_000; passes += 1) await vi.advanceTimersByTimeAsync(1_000);
      return await work;
    },
  };
}

/**
 * Makes a token as the edge mints it, but for its signature.
 *
 * @param name what tells it from others
 * @param seconds how long it holds, and until when it can be renewed, counted from `iat`
 */
export function tokenText(name: string, seconds: { life?: number; session?: number }, iat = 1_000_000): string {
  const { life, session } = seconds;
  const claims = {
    sub: name,
    iat,
    ...(life !== undefined && { exp: iat + life }),
    ...(session !== undefined && { session: { end: iat + session, seconds: life } }),
  };
  return jwtOf(claims);
}

/** @returns claims as a token, but for its signature */
function jwtOf(claims: object): string {
  return `eyJhbGciOiJIUzI1NiJ9.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2lnbmVk`;
}

/** @returns the name of the token that a request has sent */
export function nameSent({ headers }: Sent): string | undefined {
  const [, claims] = headers.get('authorization')?.split('.') ?? [];
  if (claims === undefined) return undefined;
  return (JSON.parse(Buffer.from(claims, 'base64url').toString()) as { sub: string }).sub;
}

/** The frames of a turn of a conversation, by the numbers of their events. */
export function framesOf(turn: string, events: readonly { type: string }[]): string[] {
  return events.map((event, index) => frameOf(`${turn}-${index + 1}`, event));
}

export function frameOf(id: string | undefined, event: { type: string }): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}

/** A stream that ends, breaks or falls silent behind some bytes. */
export function streamed(bytes: Uint8Array, how: 'end' | 'break' | 'silence' = 'end', turn = 'turn_a'): Response {
  let told = false;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (!told && bytes.length > 0) controller.enqueue(bytes);
      else if (how === 'end') controller.close();
      else if (how === 'break') controller.error(new TypeError('terminated'));
      else return new Promise(() => {});
      told = true;
      return undefined;
    },
  });
  return new Response(body, { headers: { 'content-type': 'text/event-stream', 'sluice-turn': turn } });
}

export const bytesOf = (text: string) => new TextEncoder().encode(text);

/** The events of a short answer. */
export function answerOf(text: string, stopReason = 'end_turn'): { type: string; [field: string]: unknown }[] {
  return [
    {
      type: 'message_start',
      message: {
        id: 'msg_1',
        type: 'message',
        role: 'assistant',
        content: [],
        stop_reason: null,
        usage: { input_tokens: 3, output_tokens: 1 },
      },
    },
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
    ...text.split(/(?<= )/).map((part) => ({
      type: 'content_block_delta',
      index: 0,
      delta: { type: 'text_delta', text: part },
    })),
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: { stop_reason: stopReason, stop_sequence: null }, usage: { output_tokens: 9 } },
    { type: 'message_stop' },
  ];
}

export const PRICE = ': sluice-cost-usd=0.000012\n';
export const request = {
  model: 'claude-haiku-4-5',
  max_tokens: 100,
  messages: [{ role: 'user' as const, content: 'Hi' }],
};
export const envelope = (type: string, message = 'No.') => ({
  type: 'error',
  error: { type, message },
  request_id: 'req_1',
});
