import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { renewingToken, SluiceError } from '#client/index.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { BASE_URL, envelope, type FakeEdge, fakeEdge, nameSent, request, type Sent, tokenText } from './fake-edge.ts';

const LIFE = 900;
const SESSION = 86_400;
const RENEW = '/tokens/renew';

const refusal = (type: string, status: number, headers: HeadersInit = {}) =>
  Response.json(envelope(type), { status, headers });
const pathsOf = ({ sent }: FakeEdge) => sent.map(({ path }) => path);
const minutes = (count: number) => vi.advanceTimersByTime(count * 60_000);

/** An edge that renews tokens, and an own backend that gives one with a session; each has the name of how it came. */
function edgeOf({
  renew,
  usage = () => Response.json({ data: [] }),
  ...seconds
}: {
  renew?: (count: number, sent: Sent) => Response | Promise<Response>;
  usage?: (sent: Sent) => Response;
  life?: number;
  session?: number;
} = {}) {
  const { life = LIFE, session = SESSION } = seconds;
  let renewed = 0;
  let fetched = 0;
  const edge = fakeEdge(
    (sent) => {
      if (sent.path !== RENEW) return usage(sent);
      renewed += 1;
      if (renew) return renew(renewed, sent);
      return Response.json({ token: tokenText(`renewed-${renewed}`, { life, session }) }, { status: 201 });
    },
    {
      token: async () => {
        fetched += 1;
        return tokenText(`fetched-${fetched}`, { life, session });
      },
    },
  );
  return { ...edge, names: () => edge.sent.filter(({ path }) => path !== RENEW).map(nameSent) };
}

describe('a token with a session', () => {
  test('is fetched once for concurrent requests, and used until half of its lifetime has passed', async () => {
    const edge = edgeOf();
    await Promise.all([edge.client.usage(), edge.client.usage()]);
    minutes(7);
    await edge.client.usage();
    expect(edge.names()).toEqual(['fetched-1', 'fetched-1', 'fetched-1']);
    expect(pathsOf(edge)).not.toContain(RENEW);
  });

  test('is renewed once by the next request after half of its lifetime, without a timer', async () => {
    const edge = edgeOf();
    await edge.client.usage();
    minutes(14);
    expect(vi.getTimerCount()).toBe(0);
    expect(edge.sent).toHaveLength(1);
    await Promise.all([edge.client.usage(), edge.client.usage(), edge.client.usage()]);
    expect(edge.names().slice(1)).toEqual(['renewed-1', 'renewed-1', 'renewed-1']);
    expect(pathsOf(edge).filter((path) => path === RENEW)).toHaveLength(1);
    expect(edge.sent[1]).toMatchObject({ method: 'POST', path: RENEW, body: undefined });
    expect(edge.sent.slice(1, 2).map(nameSent)).toEqual(['fetched-1']);
    minutes(8);
    await edge.client.usage();
    expect(edge.names().at(-1)).toBe('renewed-2');
    expect(vi.getTimerCount()).toBe(0);
  });

  test('is fetched again when its session has ended', async () => {
    const edge = edgeOf({ session: LIFE });
    await edge.client.usage();
    minutes(13);
    await edge.client.usage();
    minutes(1);
    await edge.client.usage();
    expect(edge.names()).toEqual(['fetched-1', 'fetched-1', 'fetched-2']);
    expect(pathsOf(edge)).not.toContain(RENEW);
  });

  test.each([
    ['revoked', 'authentication_error', 401],
    ['no longer renewable', 'invalid_request_error', 400],
  ])('is fetched again when the API reports that it is %s', async (_, type, status) => {
    const edge = edgeOf({ renew: () => refusal(type, status) });
    await edge.client.usage();
    minutes(8);
    await edge.client.usage();
    expect(edge.names()).toEqual(['fetched-1', 'fetched-2']);
  });

  test.each<[string, () => Response | Promise<Response>]>([
    ['is down', () => refusal('api_error', 503)],
    ['says that there are too many', () => refusal('rate_limit_error', 429, { 'retry-after': '60' })],
    [
      'cannot be reached',
      () => {
        throw new TypeError('fetch failed');
      },
    ],
  ])('is still used if renewing fails because the deployment %s, and renewing is retried later', async (_, answer) => {
    const edge = edgeOf({ renew: answer });
    await edge.client.usage();
    minutes(8);
    await edge.client.usage();
    await edge.client.usage();
    expect(edge.names()).toEqual(['fetched-1', 'fetched-1', 'fetched-1']);
    expect(pathsOf(edge).filter((path) => path === RENEW)).toHaveLength(1);
    minutes(0.1);
    await edge.client.usage();
    expect(pathsOf(edge).filter((path) => path === RENEW)).toHaveLength(2);
  });

  test('is still used if its renewal gets no response', async () => {
    const edge = edgeOf({
      renew: (_, { signal }) =>
        new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason))),
    });
    await edge.client.usage();
    minutes(8);
    expect(await edge.until(edge.client.usage())).toEqual({ data: [] });
    expect(edge.names()).toEqual(['fetched-1', 'fetched-1']);
  });

  test('is fetched again only once when concurrent requests are rejected', async () => {
    const edge = edgeOf({
      usage: (sent) =>
        nameSent(sent) === 'fetched-1' ? refusal('authentication_error', 401) : Response.json({ data: [] }),
    });
    await Promise.all([edge.client.usage(), edge.client.usage()]);
    expect(edge.names()).toEqual(['fetched-1', 'fetched-1', 'fetched-2', 'fetched-2']);
  });

  test('is renewed on schedule even if the device’s clock is wrong', async () => {
    const edge = edgeOf();
    for (const year of [1971, 2099]) {
      vi.setSystemTime(new Date(`${year}-01-01T00:00:00Z`));
      const own = renewingToken({
        baseURL: BASE_URL,
        fetch: edge.fetch,
        token: () => tokenText('own', { life: LIFE, session: SESSION }),
      });
      const sent = edge.sent.length;
      await own.get();
      minutes(7);
      await own.get();
      expect(edge.sent.length).toBe(sent);
      minutes(1);
      await own.get();
      expect(edge.sent.length).toBe(sent + 1);
    }
  });
});

describe('a token without a session', () => {
  const tokens = (make: (count: number) => string) => {
    let fetched = 0;
    return fakeEdge(() => Response.json({ data: [] }), {
      token: () => {
        fetched += 1;
        return make(fetched);
      },
    });
  };

  test('is fetched again shortly before it expires', async () => {
    const edge = tokens((count) => tokenText(`${count}`, { life: 60 }));
    await edge.client.usage();
    vi.advanceTimersByTime(53_000);
    await edge.client.usage();
    vi.advanceTimersByTime(1_000);
    await edge.client.usage();
    expect(edge.sent.map(nameSent)).toEqual(['1', '1', '2']);
  });

  test.each(['opaque', 'eyJhbGciOiJIUzI1NiJ9.eyJ.c', tokenText('endless', {})])(
    'is still used after almost two years if it contains no expiry: %s',
    async (text) => {
      const edge = tokens((count) => (count === 1 ? text : 'another'));
      await edge.client.usage();
      minutes(1e6);
      await edge.client.usage();
      expect(edge.sent.map(({ headers }) => headers.get('authorization'))).toEqual([
        `Bearer ${text}`,
        `Bearer ${text}`,
      ]);
    },
  );

  test('is still used while fetching a new one fails', async () => {
    const edge = tokens((count) => {
      if (count === 2) throw new TypeError('fetch failed');
      return tokenText(`${count}`, { life: 60 });
    });
    await edge.client.usage();
    vi.advanceTimersByTime(54_000);
    await edge.client.usage();
    vi.advanceTimersByTime(5_000);
    await edge.client.usage();
    expect(edge.sent.map(nameSent)).toEqual(['1', '1', '3']);
  });
});

const HTML = 'is a page of HTML: has the login ended?';
const NO_TOKENS: [string, unknown, string][] = [
  ['a page of a login', '\n<!DOCTYPE html><html><title>Log in</title></html>', HTML],
  ['the start of a page', '<html>', HTML],
  ['two lines', 'one\ntwo', 'is not made like one.'],
  ['letters that no header has', 'schlüssel→', 'is not made like one.'],
  ['a JSON text', '{"token":"a.b.c"}', 'is not made like one.'],
  ['nothing', ' \n', 'is empty.'],
  ['a member that is missing', undefined, 'is undefined.'],
  ['null', null, 'is null.'],
  ['an object', { token: 'a.b.c' }, 'is object.'],
];

describe.each(NO_TOKENS)('%s in place of a token', (_, text, what) => {
  const message = `There is no token: what came in its place ${what}`;
  const thrown = { name: 'SluiceError', type: 'authentication_error', message };

  test('throws an error that describes the value, sends no request, and is not kept', async () => {
    let got = 0;
    const edge = fakeEdge(() => Response.json({ data: [] }), {
      token: () => {
        got += 1;
        return (got === 1 ? text : 'good') as string;
      },
    });
    await expect(edge.client.messages.stream({ ...request, conversation: 'c' }).text()).rejects.toMatchObject(thrown);
    expect([got, edge.sent.length, vi.getTimerCount()]).toEqual([1, 0, 0]);
    await edge.client.usage();
    expect(edge.sent[0]?.headers.get('authorization')).toBe('Bearer good');
  });
});

const TEXTS = NO_TOKENS.filter(([, text]) => typeof text === 'string');

test.each(TEXTS)(
  '%s in place of a token passed as a string throws an error and sends no request',
  async (_, text, what) => {
    const edge = fakeEdge(() => Response.json({}), { token: text as string });
    const message = `There is no token: what came in its place ${what}`;
    await expect(edge.client.usage()).rejects.toMatchObject({ type: 'authentication_error', message });
    expect(edge.sent).toEqual([]);
  },
);

test('any string is either rejected as a token or sent without surrounding whitespace', async () => {
  const texts = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.stringMatching(/^[\w.-]+\n?$/));
  await tryAsyncCases(caseCount(50), texts, async (text) => {
    const edge = fakeEdge(() => Response.json({ data: [] }), { token: () => text });
    const thrown: unknown = await edge.client.usage().catch((error: unknown) => error);
    if (thrown instanceof SluiceError) expect([thrown.type, edge.sent]).toEqual(['authentication_error', []]);
    else expect(edge.sent[0]?.headers.get('authorization')).toBe(`Bearer ${text.trim()}`);
  });
});

test('an HTML page in place of the next token is ignored until the current token expires, and then throws an error', async () => {
  let given: string = tokenText('first', { life: 60 });
  const edge = fakeEdge(() => Response.json({ data: [] }), { token: () => given });
  await edge.client.usage();
  given = '<!doctype html><title>Log in</title>';
  vi.advanceTimersByTime(55_000);
  await edge.client.usage();
  expect(edge.sent.map(nameSent)).toEqual(['first', 'first']);
  vi.advanceTimersByTime(6_000);
  const refused = { type: 'authentication_error', message: expect.stringContaining('HTML') };
  const both = [edge.client.usage(), edge.client.usage()];
  for (const asked of both) await expect(asked).rejects.toMatchObject(refused);
  expect(edge.sent).toHaveLength(2);
});

test('a token fetched a minute before its expiry is replaced in time, with or without an issue time', async () => {
  for (const hasIssued of [true, false]) {
    let count = 0;
    const edge = fakeEdge(() => Response.json({ data: [] }), {
      token: () => {
        count += 1;
        const iat = Math.floor(Date.now() / 1_000) - 840;
        if (hasIssued) return tokenText(`${count}`, { life: LIFE }, iat);
        return `e30.${btoa(JSON.stringify({ sub: `${count}`, exp: iat + LIFE }))}.c2lnbmVk`;
      },
    });
    await edge.client.usage();
    vi.advanceTimersByTime(52_000);
    await edge.client.usage();
    vi.advanceTimersByTime(3_000);
    await edge.client.usage();
    expect(edge.sent.map(nameSent)).toEqual(['1', '1', '2']);
  }
});

test('a trailing line break is removed from a token', async () => {
  const edge = fakeEdge(() => Response.json({ data: [] }), { token: 'one\n' });
  await edge.client.usage();
  expect(edge.sent[0]?.headers.get('authorization')).toBe('Bearer one');
});

test('a failure to fetch a token throws a SluiceError with the cause', async () => {
  const cause = new TypeError('fetch failed');
  const edge = fakeEdge(() => Response.json({}), {
    token: () => {
      throw cause;
    },
  });
  await expect(edge.client.usage()).rejects.toMatchObject({
    name: 'SluiceError',
    type: 'authentication_error',
    message: 'There is no token (fetch failed).',
    cause,
  });
  expect(edge.sent).toEqual([]);
});

test('a request succeeds or throws a SluiceError after few attempts, whatever the API returns', async () => {
  const status = fc.constantFrom(200, 400, 401, 403, 404, 429, 500, 503, 'broken' as const, 'html' as const);
  await tryAsyncCases(
    caseCount(200),
    fc.array(status, { maxLength: 12 }),
    fc.array(fc.nat(1_000), { minLength: 1, maxLength: 6 }),
    fc.boolean(),
    async (statuses, pauses, hasSession) => {
      let fetched = 0;
      const left = [...statuses];
      const seconds = hasSession ? { life: LIFE, session: SESSION } : { life: LIFE };
      const edge = fakeEdge(
        () => {
          const next = left.shift() ?? 200;
          if (next === 'broken') throw new TypeError('fetch failed');
          if (next === 'html') return new Response('<html>');
          return next === 200 ? Response.json({ token: tokenText('renewed', seconds) }) : refusal('api_error', next);
        },
        {
          token: () => {
            fetched += 1;
            return tokenText(`${fetched}`, seconds);
          },
        },
      );
      for (const pause of pauses) {
        vi.advanceTimersByTime(pause * 1_000);
        const [sentBefore, fetchedBefore] = [edge.sent.length, fetched];
        const thrown: unknown = await edge.client.usage().then(
          () => undefined,
          (error: unknown) => error,
        );
        expect(thrown === undefined || thrown instanceof SluiceError).toBe(true);
        expect(edge.sent.length - sentBefore).toBeLessThanOrEqual(3);
        expect(fetched - fetchedBefore).toBeLessThanOrEqual(2);
      }
      expect(vi.getTimerCount()).toBe(0);
    },
  );
});
