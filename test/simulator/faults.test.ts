import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { parseFaultsHeader } from '#simulator/faults.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { asking, clientOf, eventsOf, get, model, post, refusal, simulated } from './api.ts';

const api = simulated({ faults: true });
const body = asking('Hello', { stream: true });

function faulty(fault: string, of: unknown = body): Promise<Response> {
  return api(post(of, { 'sluice-simulate': fault }));
}

/** What could be read of a body, and the error that it ended with. */
async function read(response: Response): Promise<{ text: string; sizes: number[]; error: unknown }> {
  const decoder = new TextDecoder();
  const sizes: number[] = [];
  let text = '';
  try {
    for await (const chunk of response.body ?? []) {
      sizes.push(chunk.byteLength);
      text += decoder.decode(chunk, { stream: true });
    }
    return { text, sizes, error: undefined };
  } catch (error) {
    return { text, sizes, error };
  }
}

const whole = await read(await api(post(body)));
const wholeBytes = new TextEncoder().encode(whole.text).byteLength;
// Ids are new in every answer; their length is not.
const masked = (text: string): string => text.replace(/msg_\w+/g, 'msg');

describe('faults', () => {
  test('are ignored unless they are enabled', async () => {
    const answer = await simulated()(post(asking('Hi'), { 'sluice-simulate': 'status=529; nonsense' }));
    expect(answer.status).toBe(200);
  });

  test.each([
    [400, 'invalid_request_error'],
    [401, 'authentication_error'],
    [402, 'billing_error'],
    [403, 'permission_error'],
    [404, 'not_found_error'],
    [409, 'conflict_error'],
    [413, 'request_too_large'],
    [429, 'rate_limit_error'],
    [500, 'api_error'],
    [503, 'api_error'],
    [504, 'timeout_error'],
    [529, 'overloaded_error'],
  ])("return the status %i in the API's format for messages, token counts and models", async (status, type) => {
    const headers = { 'sluice-simulate': `status=${status}; retry-after=2; retry-after-ms=1500; should-retry=false` };
    for (const request of [
      post(body, headers),
      post(asking('x'), headers, '/v1/messages/count_tokens'),
      get('/v1/models', headers),
    ]) {
      const answer = await api(request);
      expect(answer.headers.get('retry-after')).toBe('2');
      expect(answer.headers.get('retry-after-ms')).toBe('1500');
      expect(answer.headers.get('x-should-retry')).toBe('false');
      expect(await refusal(answer)).toMatchObject({ status, type });
    }
  });

  test.each([
    [400, 'organization_on_hold'],
    [429, 'enforced_spend_limit_reached'],
    [503, 'cmek_key_unreachable'],
  ])('return an error with the status %i and the code %s, like the API', async (status, code) => {
    const answer = await faulty(`status=${status}; error-code=${code}`);
    expect(answer.status).toBe(status);
    expect(await answer.json()).toMatchObject({ error: { details: { error_code: code } } });
  });

  test('reject like fetch if the network fails', async () => {
    await expect(faulty('network')).rejects.toBeInstanceOf(TypeError);
  });

  test('apply to the given number of requests for each key', async () => {
    const statuses = async (key: string): Promise<number[]> => {
      const seen: number[] = [];
      for (let i = 0; i < 4; i++) seen.push((await faulty(`status=529; times=2; key=${key}`)).status);
      return seen;
    };
    expect(await statuses('a')).toEqual([529, 529, 200, 200]);
    expect(await statuses('b')).toEqual([529, 529, 200, 200]);
    const client = clientOf(api, { 'sluice-simulate': 'status=529; retry-after-ms=1; times=2; key=sdk' });
    const answer = await client.messages.create(
      { model, max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }] },
      { maxRetries: 2 },
    );
    expect(answer.type).toBe('message');
  });

  test('cut or end a stream after exactly the given number of bytes', async () => {
    for (let bytes = 0; bytes <= wholeBytes; bytes += 37) {
      const cut = await read(await faulty(`cut-bytes=${bytes}`));
      const ended = await read(await faulty(`end-bytes=${bytes}; split=random`));
      for (const { text, sizes } of [cut, ended]) {
        expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(bytes);
        expect(masked(whole.text).startsWith(masked(text).slice(0, -30))).toBe(true);
      }
      expect(cut.error).toBeInstanceOf(Error);
      expect(ended.error).toBeUndefined();
    }
  });

  test('cut or end a stream after the given number of events', async () => {
    const { length } = eventsOf(whole.text);
    for (let count = 0; count <= length; count++) {
      const cut = await read(await faulty(`cut-events=${count}`));
      const ended = await read(await faulty(`end-events=${count}`));
      expect(eventsOf(cut.text)).toHaveLength(count);
      expect(eventsOf(ended.text)).toHaveLength(count);
      expect(cut.error).toBeInstanceOf(Error);
      expect(ended.error).toBeUndefined();
    }
  });

  test('cause an error in the official client if they cut a stream', async () => {
    const stream = clientOf(api, { 'sluice-simulate': 'cut-events=5' }).messages.stream({
      model,
      max_tokens: 50,
      messages: [{ role: 'user', content: 'Hi' }],
    });
    await expect(stream.finalMessage()).rejects.toThrow();
  });

  test('stop sending after the given number of events until the client disconnects', async () => {
    const reader = (await faulty('silence-after=3')).body?.getReader();
    const first = await reader?.read();
    expect(eventsOf(new TextDecoder().decode(first?.value))).toHaveLength(3);
    const next = await Promise.race([
      reader?.read(),
      new Promise((resolve) => setTimeout(() => resolve('silence'), 30)),
    ]);
    expect(next).toBe('silence');
    await reader?.cancel();
  });

  test('delay the start of a response', async () => {
    vi.useFakeTimers();
    try {
      let isThere = false;
      const come = faulty('slow-start=40').then(() => {
        isThere = true;
      });
      await vi.advanceTimersByTimeAsync(39);
      expect(isThere).toBe(false);
      await vi.advanceTimersByTimeAsync(1);
      await come;
    } finally {
      vi.useRealTimers();
    }
    await expect(
      api(new Request(post(body, { 'sluice-simulate': 'slow-start=60000' }), { signal: AbortSignal.timeout(20) })),
    ).rejects.toThrow();
  });

  test('split a body into chunks of at most the given size without changing it', async () => {
    for (const split of ['1', '7', 'random']) {
      const { text, sizes } = await read(await faulty(`split=${split}`));
      expect(masked(text)).toBe(masked(whole.text));
      expect(Math.max(...sizes)).toBeLessThanOrEqual(split === 'random' ? 16 : Number(split));
    }
  });

  test('send each event as a separate chunk', async () => {
    const { text, sizes } = await read(await faulty('flush'));
    expect(masked(text)).toBe(masked(whole.text));
    expect(sizes).toHaveLength(eventsOf(text).length);
  });

  test('break the JSON of one event', async () => {
    const { text } = await read(await faulty('malformed=4'));
    const events = text.split('\n\n').filter((event) => event !== '');
    const broken = events.filter((event) => {
      try {
        JSON.parse(event.split('\ndata: ')[1] ?? '');
        return false;
      } catch {
        return true;
      }
    });
    expect(broken).toEqual([events[3]]);
    expect(events).toHaveLength(eventsOf(whole.text).length);
  });

  test('apply to JSON responses, too, if they cut or malform a body', async () => {
    const json = asking('Hello');
    expect((await read(await faulty('cut-bytes=40', json))).text).toHaveLength(40);
    expect((await read(await faulty('cut-events=0', json))).error).toBeInstanceOf(Error);
    const { text, error } = await read(await faulty('malformed=1', json));
    expect(() => JSON.parse(text)).toThrow();
    expect(error).toBeUndefined();
  });

  test.each(['refusal', 'pause_turn', 'model_context_window_exceeded', 'max_tokens', 'end_turn'])(
    'end a response with the stop reason %s',
    async (reason) => {
      const client = clientOf(api, { 'sluice-simulate': `stop-reason=${reason}` });
      const answer = await client.messages.create({
        model,
        max_tokens: 900,
        messages: [{ role: 'user', content: 'Hi' }],
      });
      expect(answer.stop_reason).toBe(reason);
      expect(answer.stop_details?.type).toBe(reason === 'refusal' ? 'refusal' : undefined);
      expect(answer.content).toHaveLength(1);
    },
  );

  test('return exactly the given text', async () => {
    await tryAsyncCases(40, fc.string({ unit: 'grapheme', maxLength: 60 }), async (text) => {
      const answer = await faulty(`answer=${encodeURIComponent(text)}`, asking('Hi'));
      const { content } = await answer.json<{ content: unknown[] }>();
      expect(content).toEqual(text === '' ? [] : [{ type: 'text', text }]);
    });
  });

  test.each([
    'status=200',
    'status=abc',
    'split=0',
    'stop-reason=tired',
    'answer=%E0%A4%A',
    'cut-bytes=-1',
    'tps=fast',
    'nonsense',
    'network=1',
    'times',
    '__proto__=1',
  ])('return 400 with the name of an unknown or invalid fault: %s', async (fault) => {
    const { status, message } = await refusal(await faulty(fault));
    expect(status).toBe(400);
    expect(message).toContain(fault.split('=')[0]);
  });

  test('are parsed in any order, with any whitespace', () => {
    expect(parseFaultsHeader(' status=429 ;retry-after=1;; flush')).toEqual({
      status: 429,
      'retry-after': '1',
      flush: true,
    });
    expect(parseFaultsHeader('')).toEqual({});
  });
});
