import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { MessageStream } from '#client/index.ts';
import { createInterruptionEnding } from '#edge/kit/sse/endings.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import {
  answerOf,
  bytesOf,
  envelope,
  fakeEdge,
  frameOf,
  framesOf,
  PRICE,
  request,
  type Sent,
  streamed,
} from './fake-edge.ts';

const events = answerOf('The river is long and wide, and “ends” in the sea 🌊. ');
const frames = framesOf('turn_a', events);
const inConversation = { ...request, conversation: 'c1' };

async function collect(stream: MessageStream): Promise<unknown[]> {
  const got: unknown[] = [];
  for await (const event of stream) got.push(event);
  return got;
}

/** What the edge sends of the turn after the event that the client names. */
function rest({ headers }: Sent): Uint8Array {
  const after = Number(headers.get('last-event-id')?.split('-').at(-1) ?? 0);
  return bytesOf(frames.slice(after).join('') + PRICE);
}

describe('a stream in a conversation', () => {
  const connection = fc.record({
    most: fc.nat(1_200),
    how: fc.constantFrom('end' as const, 'break' as const, 'silence' as const, 'told' as const, 'refused' as const),
  });

  test('yields the same events however often and wherever the connections are cut', async () => {
    await tryAsyncCases(caseCount(250), fc.array(connection, { maxLength: 10 }), async (cuts) => {
      const { client, sent, until } = fakeEdge((one, count) => {
        const cut = cuts[count - 1];
        if (!cut) return streamed(rest(one));
        if (cut.how === 'refused') throw new TypeError('fetch failed');
        const bytes = rest(one).slice(0, cut.most);
        if (cut.how !== 'told') return streamed(bytes, cut.how);
        return streamed(bytesOf(new TextDecoder().decode(bytes) + brokenInside(bytes)));
      });
      const stream = client.messages.stream(inConversation);
      const got = until(collect(stream));
      expect(await got).toEqual(events);
      const message = await until(stream.finalMessage());
      expect(message).toMatchObject({ stop_reason: 'end_turn', usage: { input_tokens: 3, output_tokens: 9 } });
      expect(await stream.text()).toContain('🌊');
      // Behind the end it is asked for ten times; a connection that ends well without it counts for five.
      const used = cuts.slice(0, sent.length).map(({ how }) => (how === 'end' || how === 'told' ? 5 : 1));
      const isGivenUp = sent.length <= cuts.length && used.reduce<number>((sum, one) => sum + one, 0) > 10;
      if (!isGivenUp) expect(stream.costUsd).toBe(0.000012);
      // Whatever is sent again is known by its key, and once an event has come, nothing is.
      const posts = sent.filter(({ method }) => method === 'POST');
      expect(new Set(posts.map(({ headers }) => headers.get('idempotency-key'))).size).toBe(1);
      expect(new Set(posts.map(({ body }) => JSON.stringify(body))).size).toBe(1);
      const paths = sent.map(({ path }) => path);
      expect(paths.slice(posts.length).every((path) => path === '/conversations/c1/stream')).toBe(true);
    });
  });

  /** How the edge tells that the stream broke inside of it: in the middle of an event, that becomes a ping. */
  function brokenInside(bytes: Uint8Array): string {
    const text = new TextDecoder().decode(bytes);
    const boundary = text.lastIndexOf('\n\n');
    const begun = boundary < 0 ? text : text.slice(boundary + 2);
    const lines = begun.split('\n');
    const unfinishedLine = lines.pop() ?? '';
    const data = lines.filter((line) => line.startsWith('data: ')).map((line) => line.slice(6));
    const end = { isAtBoundary: begun === '', unfinishedLine, data: data.length === 0 ? undefined : data.join('\n') };
    return createInterruptionEnding(
      end,
      `: sluice-cut\nevent: error\ndata: ${JSON.stringify(envelope('api_error', 'The connection broke.'))}\n\n`,
    );
  }

  test('ends with the type and message of an error event of the turn', async () => {
    const told = [...frames.slice(0, 4), frameOf('turn_a-5', envelope('overloaded_error', 'Overloaded'))];
    const { client, sent, until } = fakeEdge(({ headers }) => {
      const after = Number(headers.get('last-event-id')?.split('-').at(-1) ?? 0);
      return streamed(bytesOf(told.slice(after).join('')));
    });
    const stream = client.messages.stream(inConversation);
    await expect(until(collect(stream))).rejects.toMatchObject({ type: 'overloaded_error', message: 'Overloaded' });
    await expect(stream.finalMessage()).rejects.toMatchObject({ type: 'overloaded_error' });
    expect(sent).toHaveLength(1);
  });

  test('reports the numbers of received events that an interrupted turn did not store', async () => {
    const error = frameOf('turn_a-100004', envelope('api_error', 'This turn was interrupted.'));
    const { client, sent, until } = fakeEdge((_, count) =>
      count === 1
        ? streamed(bytesOf(frames.slice(0, 6).join('')), 'break')
        : streamed(bytesOf(`: sluice-gap 4-100003\n\n${error}`)),
    );
    const stream = client.messages.stream(inConversation);
    await expect(until(collect(stream))).rejects.toMatchObject({ type: 'api_error' });
    expect(sent.at(-1)?.headers.get('last-event-id')).toBe('turn_a-6');
    expect(stream.lost).toEqual({ first: 4, last: 6 });
  });

  test('does not retry a rejected request, but retries a 503 after its Retry-After', async () => {
    const refused = fakeEdge(() => Response.json(envelope('invalid_request_error'), { status: 400 }));
    const { client, until } = refused;
    await expect(until(client.messages.stream(inConversation).text())).rejects.toMatchObject({
      name: 'SluiceError',
      type: 'invalid_request_error',
      status: 400,
    });
    expect(refused.sent).toHaveLength(1);
    const late = fakeEdge((one, count) =>
      count === 1
        ? Response.json(envelope('api_error'), { status: 503, headers: { 'retry-after': '7' } })
        : streamed(rest(one)),
    );
    const from = Date.now();
    expect(await late.until(collect(late.client.messages.stream(inConversation)))).toEqual(events);
    expect(Date.now() - from).toBeGreaterThanOrEqual(7_000);
  });

  test('gives up after one minute if the turn did not start, and after ten if it did', async () => {
    const never = fakeEdge(() => {
      throw new TypeError('fetch failed');
    });
    let from = Date.now();
    await expect(never.until(never.client.messages.stream(inConversation).text())).rejects.toMatchObject({
      type: 'connection_error',
      status: undefined,
    });
    expect(Date.now() - from).toBeGreaterThan(60_000);
    expect(Date.now() - from).toBeLessThan(75_000);
    const begun = fakeEdge((_, count) => {
      if (count > 1) throw new TypeError('fetch failed');
      return streamed(bytesOf(frames[0] ?? ''), 'break');
    });
    from = Date.now();
    await expect(begun.until(begun.client.messages.stream(inConversation).text())).rejects.toMatchObject({
      type: 'connection_error',
    });
    expect(Date.now() - from).toBeGreaterThan(600_000);
    expect(Date.now() - from).toBeLessThan(620_000);
  });

  describe('after sleeping longer than events are stored', () => {
    const AWAY_MS = 1_200_000;
    const stored = {
      type: 'message',
      id: 'msg_1',
      turn: 'turn_a',
      role: 'assistant',
      model: 'm',
      paused: null,
    } as const;
    const answer = {
      ...stored,
      content: [{ type: 'text', text: 'The river is long and wide, and “ends” in the sea 🌊. ' }],
      status: 'complete',
      stop_reason: 'end_turn',
      cost_usd: 0.000012,
      usage: { input_tokens: 3, output_tokens: 9 },
    };
    const historyOf = (...data: object[]) => Response.json({ data, has_more: false, last_id: 'msg_1' });

    /** The first events of the answer, and then a device that sleeps. */
    function beforeSleep(events: number): Response {
      let isSent = false;
      const body = new ReadableStream<Uint8Array>(
        {
          pull(controller) {
            if (!isSent) {
              isSent = true;
              return controller.enqueue(bytesOf(frames.slice(0, events).join('')));
            }
            vi.setSystemTime(Date.now() + AWAY_MS);
            return controller.error(new TypeError('terminated'));
          },
        },
        { highWaterMark: 0 },
      );
      return new Response(body, { headers: { 'sluice-turn': 'turn_a' } });
    }

    test('reconnects once more before it gives up', async () => {
      const { client, sent, until } = fakeEdge((one, count) => (count === 1 ? beforeSleep(4) : streamed(rest(one))));
      expect(await until(collect(client.messages.stream(inConversation)))).toEqual(events);
      expect(sent).toHaveLength(2);
    });

    test.each([
      ['says that there is nothing more', () => new Response(null, { status: 204 })],
      ['no longer keeps the events', () => Response.json(envelope('not_found_error'), { status: 410 })],
    ])('completes the message from the history if the deployment %s', async (_, gone) => {
      for (const seen of [0, 1, 2, 4, frames.length - 3, frames.length - 2, frames.length - 1]) {
        const { client, sent, until } = fakeEdge(({ path }, count) => {
          if (count === 1) return beforeSleep(seen);
          if (path.includes('/messages?')) return historyOf({ ...answer, turn: 'turn_0' }, answer);
          return path === '/messages'
            ? Response.json(envelope('conflict_error'), {
                status: 409,
                headers: { 'sluice-turn': 'turn_a', location: '/conversations/c1/messages' },
              })
            : gone();
        });
        const stream = client.messages.stream(inConversation);
        expect(await until(stream.text()), `${seen} events`).toBe(answer.content[0]?.text);
        const { stop_reason, usage } = await stream.finalMessage();
        expect([stop_reason, usage.output_tokens, stream.costUsd]).toEqual(['end_turn', 9, 0.000012]);
        const types = (await collect(stream)).map((event) => (event as { type: string }).type);
        for (const one of ['message_start', 'content_block_start', 'content_block_stop', 'message_stop'])
          expect(types.filter((type) => type === one)).toHaveLength(1);
        expect(sent.at(-1)?.path).toContain('view=shown');
      }
    });

    test('ends with an error if the response was interrupted or is not stored', async () => {
      for (const data of [[], [{ ...answer, status: 'interrupted' }]]) {
        const { client, until } = fakeEdge(({ path }, count) => {
          if (count === 1) return beforeSleep(4);
          return path.includes('/messages?') ? historyOf(...data) : new Response(null, { status: 204 });
        });
        const stream = client.messages.stream(inConversation);
        await expect(until(stream.text())).rejects.toMatchObject({ type: 'api_error' });
      }
    });

    test('looks at the history before it reports that the stream is rejected', async () => {
      for (const rejected of [401, 403, 404, 422]) {
        const { client, sent, until } = fakeEdge(({ path }, count) => {
          if (count === 1) return beforeSleep(4);
          if (path.includes('/messages?')) return historyOf(answer);
          return Response.json(envelope('not_found_error'), { status: rejected });
        });
        expect(await until(client.messages.stream(inConversation).text())).toBe(answer.content[0]?.text);
        expect(sent.filter(({ path }) => path.includes('/messages?'))).toHaveLength(1);
      }
    });

    test('looks at the history for at most five seconds', async () => {
      let lookedAt = 0;
      const { client, until } = fakeEdge(({ path, signal }, count) => {
        if (count === 1) return beforeSleep(4);
        if (!path.includes('/messages?')) return Response.json(envelope('permission_error'), { status: 403 });
        lookedAt = Date.now();
        return new Promise<Response>((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
      });
      await expect(until(client.messages.stream(inConversation).text())).rejects.toMatchObject({ status: 403 });
      expect(Date.now() - lookedAt).toBeGreaterThanOrEqual(5_000);
      expect(Date.now() - lookedAt).toBeLessThan(6_000);
    });

    test('completes the message from the history if only streams cannot be received', async () => {
      const { client, until } = fakeEdge(({ path }, count) => {
        if (count === 1) return beforeSleep(4);
        if (path.includes('/messages?')) return historyOf(answer);
        throw new TypeError('fetch failed');
      });
      expect(await until(client.messages.stream(inConversation).text())).toBe(answer.content[0]?.text);
    });
  });

  test('fails at once with a suggestion if `fetch` returns no stream, as on React Native', async () => {
    const { client, sent, until } = fakeEdge(() => new Response(null, { headers: { 'sluice-turn': 'turn_a' } }));
    await expect(until(client.messages.stream(inConversation).text())).rejects.toMatchObject({
      type: 'connection_error',
      message: expect.stringContaining('expo/fetch'),
    });
    expect(sent).toHaveLength(1);
  });

  test('reconnects after 45 seconds without a byte, and counts pings as bytes', async () => {
    const { client, sent, until } = fakeEdge((one, count) =>
      count === 1 ? streamed(bytesOf(frames.slice(0, 3).join('')), 'silence') : streamed(rest(one)),
    );
    const from = Date.now();
    expect(await until(collect(client.messages.stream(inConversation)))).toEqual(events);
    expect(Date.now() - from).toBeGreaterThanOrEqual(45_000);
    expect(Date.now() - from).toBeLessThan(48_000);
    expect(sent[1]?.headers.get('last-event-id')).toBe('turn_a-3');
    let pings = 0;
    const slow = fakeEdge(() => {
      const body = new ReadableStream<Uint8Array>({
        async pull(controller) {
          await new Promise((resolve) => setTimeout(resolve, 30_000));
          controller.enqueue(bytesOf(pings++ < 5 ? 'event: ping\ndata: {"type":"ping"}\n\n' : frames.join('') + PRICE));
          if (pings > 5) controller.close();
        },
      });
      return new Response(body, { headers: { 'sluice-turn': 'turn_a' } });
    });
    expect(await slow.until(collect(slow.client.messages.stream(inConversation)))).toEqual(events);
    expect(slow.sent).toHaveLength(1);
  });

  test('does not wait for a cost that a proxy removed from the stream', async () => {
    const { client, sent, until } = fakeEdge(({ headers }) => {
      const after = Number(headers.get('last-event-id')?.split('-').at(-1) ?? 0);
      return streamed(bytesOf(frames.slice(after).join('')));
    });
    const stream = client.messages.stream(inConversation);
    const from = Date.now();
    await until(stream.finalMessage());
    expect(stream.costUsd).toBeUndefined();
    expect(sent.length).toBeLessThanOrEqual(4);
    expect(Date.now() - from).toBeLessThanOrEqual(3_000);
  });

  test('stops its own turn by key if stop is called before the response starts', async () => {
    let begin = () => {};
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const { client, sent, until } = fakeEdge(async ({ path }) => {
      if (path.includes('/stop?')) return Response.json({});
      await begun;
      return streamed(bytesOf(`${frames.join('')}: sluice-stopped\n${PRICE}`));
    });
    const stream = client.messages.stream(inConversation);
    const stopping = stream.stop();
    await vi.advanceTimersByTimeAsync(500);
    const [asked, stopped] = sent;
    // By its key: nobody else's turn is to be stopped by this.
    const key = asked?.headers.get('idempotency-key');
    expect([asked?.path, stopped?.path]).toEqual(['/messages', `/conversations/c1/stop?key=${key}`]);
    begin();
    await until(stopping);
    await until(stream.finalMessage());
    expect(stream.stopped).toBe(true);
  });

  test('stops only its own turn if stop is called before or after its request is rejected', async () => {
    const { client, sent, until } = fakeEdge(({ path }) =>
      path === '/messages' ? Response.json(envelope('conflict_error'), { status: 409 }) : Response.json({}),
    );
    const early = client.messages.stream(inConversation);
    await until(early.stop());
    await expect(until(early.finalMessage())).rejects.toMatchObject({ type: 'closed' });
    const late = client.messages.stream(inConversation);
    await expect(until(late.finalMessage())).rejects.toMatchObject({ type: 'conflict_error' });
    await until(late.stop());
    for (const { path } of sent) expect(path).toMatch(/^\/(messages|conversations\/c1\/stop\?key=[\w-]+)$/);
  });

  test.each([false, true])(
    'does not send its request again after a stop while disconnected (its turn is known: %s)',
    async (known) => {
      const { client, sent, until } = fakeEdge(({ path }) => {
        if (path.includes('/stop?')) return Response.json({});
        if (path !== '/messages') return Response.json(envelope('not_found_error'), { status: 410 });
        if (!known) throw new TypeError('fetch failed');
        return streamed(bytesOf(': ping\n\n'), 'break');
      });
      const stream = client.messages.stream(inConversation);
      await vi.advanceTimersByTimeAsync(1);
      await until(stream.stop());
      await expect(until(stream.finalMessage())).rejects.toMatchObject({ type: 'closed' });
      expect(stream.stopped).toBe(true);
      expect(sent.filter(({ path }) => path === '/messages')).toHaveLength(1);
      expect(sent.some(({ path }) => path.includes('/stop?key='))).toBe(true);
    },
  );

  test('ends without an error when it is closed, does not stop the turn, and has no final message', async () => {
    const { client, sent, until } = fakeEdge(() => streamed(bytesOf(frames.slice(0, 3).join('')), 'silence'));
    const stream = client.messages.stream(inConversation);
    for await (const event of stream) if (event.type === 'content_block_start') break;
    await expect(until(stream.finalMessage())).rejects.toMatchObject({ type: 'closed' });
    expect(sent.map(({ path }) => path)).toEqual(['/messages']);
    expect(sent[0]?.signal?.aborted).toBe(true);
    const left = new AbortController();
    const other = client.messages.stream(inConversation, { signal: left.signal });
    await until(other.opened());
    left.abort();
    expect(await until(collect(other))).toHaveLength(3);
  });

  test('is returned by resume for a running turn; without one resume returns null, and for an unknown conversation it throws', async () => {
    const idle = fakeEdge(() => new Response(null, { status: 204 }));
    expect(await idle.client.conversations.resume('c1')).toBeNull();
    const unknown = fakeEdge(() => Response.json(envelope('not_found_error'), { status: 404 }));
    await expect(unknown.client.conversations.resume('c1')).rejects.toMatchObject({ status: 404 });
    const running = fakeEdge((one) => streamed(rest(one)));
    const stream = await running.client.conversations.resume('c1');
    expect(await running.until(collect(stream as MessageStream))).toEqual(events);
    expect(running.sent[0]).toMatchObject({ method: 'GET', path: '/conversations/c1/stream' });
    expect(running.sent[0]?.headers.has('last-event-id')).toBe(false);
  });
});

describe('a stream without a conversation', () => {
  test('ends with an error when the connection is cut, without a retry', async () => {
    for (const how of ['end', 'break', 'silence'] as const) {
      const { client, sent, until } = fakeEdge(() => streamed(bytesOf(frames.slice(0, 4).join('')), how));
      await expect(until(collect(client.messages.stream(request)))).rejects.toMatchObject({ type: 'connection_error' });
      expect(sent).toHaveLength(1);
      expect(sent[0]?.headers.has('idempotency-key')).toBe(false);
    }
  });

  test('reports the type of an error event, the cost, and the budget status', async () => {
    const error = `event: error\ndata: ${JSON.stringify(envelope('overloaded_error', 'Overloaded'))}\n\n`;
    const broken = fakeEdge(() => streamed(bytesOf(frames.slice(0, 4).join('') + error)));
    await expect(broken.until(broken.client.messages.stream(request).text())).rejects.toMatchObject({
      type: 'overloaded_error',
      requestId: 'req_1',
    });
    const whole = fakeEdge(() => streamed(bytesOf(frames.join('') + PRICE)));
    const stream = whole.client.messages.stream(request);
    expect(await whole.until(stream.text())).toContain('river');
    expect([stream.costUsd, stream.used, stream.fits]).toEqual([0.000012, undefined, undefined]);
    const budget = ': sluice-budget-used=0.5\n: sluice-budget-fits=false\n';
    const limited = fakeEdge(() => streamed(bytesOf(frames.join('') + budget + PRICE)));
    const told = limited.client.messages.stream(request);
    await limited.until(told.text());
    expect([told.costUsd, told.used, told.fits]).toEqual([0.000012, 0.5, false]);
  });
});

describe('a token', () => {
  test('is fetched once, and again when it is rejected, even while a response is resumed', async () => {
    let asked = 0;
    const token = async () => {
      asked += 1;
      return `token-${asked}`;
    };
    const { client, sent, until } = fakeEdge(
      (one, count) => {
        if (count === 1) return streamed(bytesOf(frames.slice(0, 3).join('')), 'break');
        if (one.headers.get('authorization') !== 'Bearer token-2') {
          return Response.json(envelope('authentication_error'), { status: 401 });
        }
        return streamed(rest(one));
      },
      { token },
    );
    expect(await until(collect(client.messages.stream(inConversation)))).toEqual(events);
    expect(sent.map(({ headers }) => headers.get('authorization'))).toEqual([
      'Bearer token-1',
      'Bearer token-1',
      'Bearer token-2',
    ]);
  });

  test('causes an error if its replacement is rejected too, and is fetched again after a failed fetch', async () => {
    const refusing = () => Response.json(envelope('authentication_error'), { status: 401 });
    let asked = 0;
    const token = () => {
      asked += 1;
      return `token-${asked}`;
    };
    const { client, until, sent } = fakeEdge(refusing, { token });
    await expect(until(client.messages.stream(inConversation).text())).rejects.toMatchObject({ status: 401 });
    expect([asked, sent.length]).toEqual([2, 2]);
    const fixed = fakeEdge(refusing, { token: 'fixed' });
    await expect(fixed.client.usage()).rejects.toMatchObject({ type: 'authentication_error' });
    expect(fixed.sent).toHaveLength(1);
    let fails = true;
    const flaky = fakeEdge(() => Response.json({ data: [] }), {
      token: async () => {
        if (fails) throw new Error('no session');
        return 'token';
      },
    });
    await expect(flaky.client.usage()).rejects.toThrow('no session');
    fails = false;
    expect(await flaky.client.usage()).toEqual({ data: [] });
  });
});

describe('a stream in a browser page', () => {
  afterEach(() => vi.unstubAllGlobals());

  function page() {
    const window = new EventTarget();
    const document = Object.assign(new EventTarget(), { visibilityState: 'visible' });
    vi.stubGlobal('document', document);
    vi.stubGlobal('addEventListener', window.addEventListener.bind(window));
    vi.stubGlobal('removeEventListener', window.removeEventListener.bind(window));
    return { window, document };
  }

  test('reconnects at once when the page is online or visible again', async () => {
    const { window, document } = page();
    for (const back of [
      () => window.dispatchEvent(new Event('online')),
      () => document.dispatchEvent(new Event('visibilitychange')),
    ]) {
      let reachable = false;
      const { client, sent, until } = fakeEdge((one, count) => {
        if (count === 1) return streamed(bytesOf(frames.slice(0, 3).join('')), 'break');
        if (!reachable) throw new TypeError('Failed to fetch');
        return streamed(rest(one));
      });
      const got = collect(client.messages.stream(inConversation));
      await vi.advanceTimersByTimeAsync(60_000);
      const tries = sent.length;
      reachable = true;
      await vi.advanceTimersByTimeAsync(1);
      expect(sent.length).toBe(tries);
      back();
      await vi.advanceTimersByTimeAsync(1);
      expect(sent.length).toBe(tries + 1);
      expect(await until(got)).toEqual(events);
    }
  });

  test('replaces its connection when the page is online again, or visible after 20 seconds of silence', async () => {
    const { window, document } = page();
    const { client, sent, until } = fakeEdge((one, count) =>
      count < 3 ? streamed(rest(one).slice(0, 500), 'silence') : streamed(rest(one)),
    );
    const got = collect(client.messages.stream(inConversation));
    await vi.advanceTimersByTimeAsync(1_000);
    document.dispatchEvent(new Event('visibilitychange'));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sent).toHaveLength(1);
    window.dispatchEvent(new Event('online'));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sent).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(20_000);
    document.dispatchEvent(new Event('visibilitychange'));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sent).toHaveLength(3);
    expect(await until(got)).toEqual(events);
  });
});

describe('a response that the API has paused', () => {
  const search = { type: 'server_tool_use', id: 'srvtoolu_1', name: 'web_search', input: {} };
  /** The first part of an answer: a text, and a call without a result. */
  const paused = [
    ...answerOf('Let me look. ', 'pause_turn').slice(0, -2),
    { type: 'content_block_start', index: 1, content_block: search },
    { type: 'content_block_stop', index: 1 },
    ...answerOf('', 'pause_turn').slice(-2),
  ];
  const content = [{ type: 'text', text: 'Let me look. ' }, search];
  const partsOf = (...parts: { type: string }[][]) =>
    fakeEdge((_, count) => {
      const turn = `turn_${count}`;
      return streamed(bytesOf(framesOf(turn, parts[count - 1] ?? paused).join('') + PRICE), 'end', turn);
    });
  const messagesOf = (sent: readonly Sent[]) => sent.map(({ body }) => body?.messages);

  test('continues as one message with the tokens and the cost of all its parts', async () => {
    const { client, sent, until } = partsOf(paused, paused, answerOf('Dry.'));
    const stream = client.messages.stream(inConversation);
    const got = (await until(collect(stream))) as { type: string; index?: number }[];
    expect(got.filter(({ type }) => type.startsWith('message_')).map(({ type }) => type)).toEqual([
      'message_start',
      'message_delta',
      'message_stop',
    ]);
    expect(got.flatMap(({ type, index }) => (type === 'content_block_start' ? [index] : []))).toEqual([0, 1, 2, 3, 4]);
    const whole = await stream.finalMessage();
    expect(whole).toMatchObject({
      id: 'msg_1',
      content: [...content, ...content, { type: 'text', text: 'Dry.' }],
      stop_reason: 'end_turn',
      usage: { input_tokens: 9, output_tokens: 27 },
    });
    expect(stream).toMatchObject({ costUsd: 0.000036, turn: 'turn_3', paused: undefined });
    const said = [{ role: 'assistant', content }];
    expect(messagesOf(sent)).toEqual([request.messages, said, said]);
    expect(new Set(sent.map(({ headers }) => headers.get('idempotency-key'))).size).toBe(3);
    expect(sent.every(({ body }) => body?.max_tokens === request.max_tokens)).toBe(true);
  });

  test('continues without a conversation by sending all messages again', async () => {
    const { client, sent, until } = partsOf(paused, answerOf('Dry.'));
    const stream = client.messages.stream(request, { headers: { 'idempotency-key': 'mine' } });
    expect(await until(stream.text())).toBe('Let me look. Dry.');
    expect(messagesOf(sent)[1]).toEqual([...request.messages, { role: 'assistant', content }]);
    expect(sent.map(({ headers }) => headers.get('idempotency-key'))).toEqual(['mine', 'mine-on']);
  });

  test('is sent back ten times at most', async () => {
    const { client, sent, until } = partsOf();
    const stream = client.messages.stream(inConversation);
    expect(await until(stream.finalMessage())).toMatchObject({ stop_reason: 'pause_turn' });
    expect(sent).toHaveLength(11);
  });

  test('is not sent back if it was stopped or closed, or if a run has paused', async () => {
    for (const end of ['stop', 'close'] as const) {
      const { client, sent, until } = partsOf();
      const stream = client.messages.stream(inConversation);
      void until(collect(stream)).catch(() => {});
      await stream.opened();
      await stream[end]();
      await until(stream.finalMessage().catch(() => undefined));
      expect(sent.filter(({ path }) => path === '/messages')).toHaveLength(1);
    }
    const remark = ': sluice-paused=max_turns\n\n';
    const text = framesOf('turn_a', paused);
    const run = fakeEdge(() => streamed(bytesOf([...text.slice(0, -1), remark, text.at(-1), PRICE].join(''))));
    expect(await run.until(run.client.messages.stream(inConversation).finalMessage())).toMatchObject({
      stop_reason: 'pause_turn',
    });
    expect(run.sent).toHaveLength(1);
  });

  test('ends with the error of the part that fails', async () => {
    const { client, until } = fakeEdge((_, count) =>
      count === 1
        ? streamed(bytesOf(framesOf('turn_a', paused).join('') + PRICE))
        : Response.json(envelope('invalid_request_error'), { status: 400 }),
    );
    const stream = client.messages.stream(inConversation);
    await expect(until(collect(stream))).rejects.toMatchObject({ type: 'invalid_request_error' });
    expect(stream.message?.content).toEqual(content);
  });

  test('is the same message however often and wherever the connections are cut', async () => {
    const parts = [paused, answerOf('Dry. ')].map((events, part) => framesOf(`turn_${part}`, events));
    await tryAsyncCases(caseCount(100), fc.array(fc.nat(1_500), { maxLength: 6 }), async (cuts) => {
      const { client, until } = fakeEdge(({ headers, body }, count) => {
        const [at, after] = headers.get('last-event-id')?.split('-') ?? [];
        const isBack = (body?.messages as { role: string }[] | undefined)?.[0]?.role === 'assistant';
        const part = at === 'turn_1' || isBack ? 1 : 0;
        const text = (parts[part]?.slice(Number(after ?? 0)).join('') ?? '') + PRICE;
        const cut = cuts[count - 1];
        return streamed(bytesOf(text).slice(0, cut), cut === undefined ? 'end' : 'break', `turn_${part}`);
      });
      const stream = client.messages.stream(inConversation);
      expect(await until(stream.finalMessage())).toMatchObject({
        content: [...content, { type: 'text', text: 'Dry. ' }],
        usage: { input_tokens: 6, output_tokens: 18 },
      });
      expect(stream.costUsd).toBe(0.000024);
    });
  });
});
