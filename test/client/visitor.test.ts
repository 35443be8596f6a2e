import { describe, expect, test, vi } from 'vitest';
import { createClient, type RenewingToken, visitor } from '#client/index.ts';
import { BASE_URL, envelope, type FakeEdge, fakeEdge, nameSent, type Sent, tokenText } from './fake-edge.ts';

const VISITOR = '/tokens/visitor';

interface Visited extends FakeEdge {
  token: RenewingToken;
  /** The answers of the widget that were sent. */
  answers(): unknown[];
}

/** An edge with visitors, a client of one, and a widget that gives `answer-1`, `answer-2` and so on. */
function edgeOf(
  refuse: (count: number, sent: Sent) => Response | undefined = () => undefined,
  { turnstile }: { turnstile?: () => string | Promise<string> } = {},
): Visited {
  let asked = 0;
  let made = 0;
  let answered = 0;
  const edge = fakeEdge((sent) => {
    if (sent.path === '/usage') return Response.json({ data: [] });
    if (sent.path === VISITOR) asked += 1;
    const refusal = refuse(asked, sent);
    if (refusal) return refusal;
    made += 1;
    const token = tokenText(`${sent.path === VISITOR ? 'visitor' : 'renewed'}-${made}`, { life: 900, session: 3_600 });
    return Response.json({ token }, { status: 201 });
  });
  const token = visitor({
    baseURL: BASE_URL,
    fetch: edge.fetch,
    turnstile:
      turnstile ??
      (async () => {
        answered += 1;
        return `answer-${answered}`;
      }),
  });
  return {
    ...edge,
    token,
    client: createClient({ baseURL: BASE_URL, fetch: edge.fetch, token }),
    answers: () => edge.sent.filter(({ path }) => path === VISITOR).map(({ body }) => body?.turnstile),
  };
}

const refusal = (type: string, status: number, headers: HeadersInit = {}) =>
  Response.json(envelope(type), { status, headers });

test('a visitor token is fetched once, at the first request, without a credential', async () => {
  const edge = edgeOf();
  expect(edge.sent).toEqual([]);
  await Promise.all([edge.client.usage(), edge.client.usage()]);
  expect(edge.sent.map((sent) => [sent.method, sent.path, nameSent(sent), sent.body])).toEqual([
    ['POST', VISITOR, undefined, { turnstile: 'answer-1' }],
    ['GET', '/usage', 'visitor-1', undefined],
    ['GET', '/usage', 'visitor-1', undefined],
  ]);
});

test('several clients can share one visitor and its renewals', async () => {
  const edge = edgeOf();
  const other = createClient({ baseURL: BASE_URL, fetch: edge.fetch, token: edge.token });
  await Promise.all([edge.client.usage(), other.usage(), edge.token.get()]);
  expect(edge.answers()).toEqual(['answer-1']);
  vi.advanceTimersByTime(500_000);
  await Promise.all([edge.client.usage(), other.usage()]);
  expect(edge.sent.slice(3).map((sent) => [sent.path, nameSent(sent)])).toEqual([
    ['/tokens/renew', 'visitor-1'],
    ['/usage', 'renewed-2'],
    ['/usage', 'renewed-2'],
  ]);
  expect(await edge.token.get()).toContain(tokenText('renewed-2', {}).slice(0, 20));
});

test('without a Turnstile option, the request contains no Turnstile response and is not retried after a 400', async () => {
  const edge = edgeOf();
  const token = visitor({ baseURL: BASE_URL, fetch: edge.fetch });
  await token.get();
  expect(edge.sent.map(({ body }) => body)).toEqual([{}]);

  // There is no other answer to be had.
  const refusing = edgeOf(() => refusal('invalid_request_error', 400));
  const lost = visitor({ baseURL: BASE_URL, fetch: refusing.fetch });
  await expect(lost.get()).rejects.toMatchObject({ status: 400 });
  expect(refusing.sent).toHaveLength(1);
});

describe('the response of the Turnstile widget', () => {
  test('is sent again if the connection was lost', async () => {
    const edge = edgeOf((count) => {
      if (count < 3) throw new TypeError('fetch failed');
      return undefined;
    });
    await edge.until(edge.client.usage());
    expect(edge.answers()).toEqual(['answer-1', 'answer-1', 'answer-1']);
  });

  test('is sent again after Retry-After if Turnstile could not be reached', async () => {
    const at: number[] = [];
    const edge = edgeOf((count) => {
      at.push(Date.now());
      return count === 1 ? refusal('overloaded_error', 503, { 'retry-after': '7' }) : undefined;
    });
    await edge.until(edge.client.usage());
    expect(edge.answers()).toEqual(['answer-1', 'answer-1']);
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(7_000);
  });

  test('is replaced once by a new one if the API rejects it', async () => {
    const edge = edgeOf((count) => (count === 1 ? refusal('invalid_request_error', 400) : undefined));
    await edge.client.usage();
    expect(edge.answers()).toEqual(['answer-1', 'answer-2']);

    const refusing = edgeOf(() => refusal('invalid_request_error', 400));
    await expect(refusing.client.usage()).rejects.toMatchObject({ status: 400, type: 'invalid_request_error' });
    expect(refusing.answers()).toEqual(['answer-1', 'answer-2']);
  });

  test('throws a SluiceError if the widget fails, and is requested again by the next request', async () => {
    let asked = 0;
    const edge = edgeOf(undefined, {
      turnstile: async () => {
        asked += 1;
        if (asked === 1) throw new Error('Turnstile: 300010');
        return 'late';
      },
    });
    await expect(edge.client.usage()).rejects.toMatchObject({
      name: 'SluiceError',
      type: 'authentication_error',
      message: 'There is no token (Turnstile: 300010).',
    });
    await edge.client.usage();
    expect(edge.answers()).toEqual(['late']);
  });
});

test.each([
  ['too many visitors from this address', 'rate_limit_error', 429],
  ['an edge without visitors', 'not_found_error', 404],
])('%s: throws an error with its Retry-After, and does not retry', async (_, type, status) => {
  const edge = edgeOf(() => refusal(type, status, { 'retry-after': '60' }));
  await expect(edge.client.usage()).rejects.toMatchObject({ type, status, retryAfter: 60 });
  expect(edge.sent).toHaveLength(1);
});

test('a deployment that stays unavailable is tried three times before the error is thrown', async () => {
  const edge = edgeOf(() => refusal('api_error', 503));
  await expect(edge.until(edge.client.usage())).rejects.toMatchObject({ status: 503 });
  expect(edge.answers()).toEqual(['answer-1', 'answer-1', 'answer-1']);
});

test('a visitor whose token cannot be renewed becomes a new visitor with a new Turnstile response', async () => {
  const edge = edgeOf((_, { path }) => (path === '/tokens/renew' ? refusal('authentication_error', 401) : undefined));
  await edge.client.usage();
  vi.advanceTimersByTime(10 * 3_600_000);
  await edge.client.usage();
  expect(edge.answers()).toEqual(['answer-1', 'answer-2']);
  expect(edge.sent.map(nameSent)).toEqual([undefined, 'visitor-1', 'visitor-1', undefined, 'visitor-2']);
});
