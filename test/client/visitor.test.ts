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

test('a visitor is asked for at the first request, without a credential, once for all at the same time', async () => {
  const edge = edgeOf();
  expect(edge.sent).toEqual([]);
  await Promise.all([edge.client.usage(), edge.client.usage()]);
  expect(edge.sent.map((sent) => [sent.method, sent.path, nameSent(sent), sent.body])).toEqual([
    ['POST', VISITOR, undefined, { turnstile: 'answer-1' }],
    ['GET', '/usage', 'visitor-1', undefined],
    ['GET', '/usage', 'visitor-1', undefined],
  ]);
});

test('two clients may be the same visitor, and any other client too', async () => {
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

test('an edge without Turnstile is asked without its answer', async () => {
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

describe('the answer of the widget', () => {
  test('is sent again when what the edge said was lost: it gives the same visitor', async () => {
    const edge = edgeOf((count) => {
      if (count < 3) throw new TypeError('fetch failed');
      return undefined;
    });
    await edge.until(edge.client.usage());
    expect(edge.answers()).toEqual(['answer-1', 'answer-1', 'answer-1']);
  });

  test('is sent again when Turnstile could not be reached, not sooner than the edge says', async () => {
    const at: number[] = [];
    const edge = edgeOf((count) => {
      at.push(Date.now());
      return count === 1 ? refusal('overloaded_error', 503, { 'retry-after': '7' }) : undefined;
    });
    await edge.until(edge.client.usage());
    expect(edge.answers()).toEqual(['answer-1', 'answer-1']);
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(7_000);
  });

  test('is replaced by a new one when it had expired or was used, once', async () => {
    const edge = edgeOf((count) => (count === 1 ? refusal('invalid_request_error', 400) : undefined));
    await edge.client.usage();
    expect(edge.answers()).toEqual(['answer-1', 'answer-2']);

    const refusing = edgeOf(() => refusal('invalid_request_error', 400));
    await expect(refusing.client.usage()).rejects.toMatchObject({ status: 400, type: 'invalid_request_error' });
    expect(refusing.answers()).toEqual(['answer-1', 'answer-2']);
  });

  test('that does not come is the client’s own error, and the next request asks the widget again', async () => {
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
])('%s are an error at once, which says when to come again', async (_, type, status) => {
  const edge = edgeOf(() => refusal(type, status, { 'retry-after': '60' }));
  await expect(edge.client.usage()).rejects.toMatchObject({ type, status, retryAfter: 60 });
  expect(edge.sent).toHaveLength(1);
});

test('an edge that stays down is asked three times, and then it is an error', async () => {
  const edge = edgeOf(() => refusal('api_error', 503));
  await expect(edge.until(edge.client.usage())).rejects.toMatchObject({ status: 503 });
  expect(edge.answers()).toEqual(['answer-1', 'answer-1', 'answer-1']);
});

test('a visitor whose token has expired in the meantime becomes a new one, with a new answer', async () => {
  const edge = edgeOf((_, { path }) => (path === '/tokens/renew' ? refusal('authentication_error', 401) : undefined));
  await edge.client.usage();
  vi.advanceTimersByTime(10 * 3_600_000);
  await edge.client.usage();
  expect(edge.answers()).toEqual(['answer-1', 'answer-2']);
  expect(edge.sent.map(nameSent)).toEqual([undefined, 'visitor-1', 'visitor-1', undefined, 'visitor-2']);
});
