// In workerd: the streams are the runtime's.
import 'cloudflare:workers';

import { describe, expect, test, vi } from 'vitest';
import { asking, clientOf, eventsOf, model, post, simulated } from './api.ts';

const body = asking('Hello', { stream: true });

/** Reads a body to its end or its error. */
async function chunksOf(response: Response): Promise<{ chunks: Uint8Array[]; error: unknown }> {
  const chunks: Uint8Array[] = [];
  const reader = response.body?.getReader();
  try {
    for (;;) {
      const result = await reader?.read();
      if (result === undefined || result.done) return { chunks, error: undefined };
      chunks.push(result.value);
    }
  } catch (error) {
    return { chunks, error };
  }
}

describe('a stream', () => {
  test('has the events that the API sends, in the same order', async () => {
    const response = await simulated()(
      post(
        asking('What is the weather?', {
          stream: true,
          thinking: { type: 'adaptive' },
          speed: 'fast',
          inference_geo: 'us',
          tools: [
            {
              name: 'weather',
              input_schema: { type: 'object', properties: { a: { type: 'string' } }, required: ['a'] },
            },
          ],
        }),
      ),
    );
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('no-cache');
    const events = eventsOf(await response.text());
    for (const { name, data } of events) expect(data.type).toBe(name);
    const order = events.map(({ name, data }) => {
      const inner = (data.delta ?? data.content_block) as { type?: string } | undefined;
      return inner?.type ?? name;
    });
    expect(order.filter((name, index) => name !== order[index - 1])).toEqual([
      'message_start',
      'thinking',
      'ping',
      'thinking_delta',
      'signature_delta',
      'content_block_stop',
      'text',
      'text_delta',
      'content_block_stop',
      'tool_use',
      'input_json_delta',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);

    const { usage: started } = (events[0]?.data.message ?? {}) as { usage: Record<string, unknown> };
    expect(Object.keys(started)).toEqual([
      'input_tokens',
      'cache_creation_input_tokens',
      'cache_read_input_tokens',
      'cache_creation',
      'output_tokens',
      'output_tokens_details',
      'server_tool_use',
      'service_tier',
      'inference_geo',
      'speed',
    ]);
    expect(started).toMatchObject({ output_tokens: 1, service_tier: 'standard', inference_geo: 'us', speed: 'fast' });
    const ended = events.at(-2)?.data.usage as Record<string, unknown>;
    expect(Object.keys(ended)).toEqual([
      'input_tokens',
      'cache_creation_input_tokens',
      'cache_read_input_tokens',
      'output_tokens',
      'output_tokens_details',
      'server_tool_use',
    ]);
    expect(ended.output_tokens).toBeGreaterThan(1);
  });

  test('arrives in at most about one chunk for each 60,000 bytes if it is not paced', async () => {
    const { chunks } = await chunksOf(
      await simulated()(post(asking('Write 20000 words', { stream: true, max_tokens: 100_000 }))),
    );
    const length = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
    expect(length).toBeGreaterThan(500_000);
    expect(chunks.length).toBeLessThan(length / 60_000 + 2);
  });

  test('arrives at the configured pace, with an immediate first event', async () => {
    vi.useFakeTimers();
    const times: number[] = [];
    let all = '';
    try {
      const before = Date.now();
      const response = await simulated({ ttftMs: 600, tokensPerSecond: 20 })(post({ ...body, max_tokens: 20 }));
      const read = (async () => {
        const decoder = new TextDecoder();
        for await (const chunk of response.body ?? []) {
          times.push(Date.now() - before);
          all += decoder.decode(chunk);
        }
      })();
      await vi.advanceTimersByTimeAsync(10_000);
      await read;
    } finally {
      vi.useRealTimers();
    }
    expect(eventsOf(all).at(-1)?.name).toBe('message_stop');
    expect(times[0]).toBe(0);
    expect(times[1]).toBeGreaterThanOrEqual(600);
    expect(times.length).toBeGreaterThan(4);
    expect(times.at(-1)).toBeGreaterThan(1_500);
    expect(times.at(-1)).toBeLessThan(6_000);
  });

  test('has pings during a long silence', async () => {
    vi.useFakeTimers();
    try {
      const response = await simulated({ ttftMs: 35_000 })(post({ ...body, max_tokens: 1 }));
      const text = response.text();
      await vi.advanceTimersByTimeAsync(36_000);
      const names = eventsOf(await text).map(({ name }) => name);
      expect(names.slice(0, 6)).toEqual(['message_start', 'ping', 'ping', 'ping', 'content_block_start', 'ping']);
    } finally {
      vi.useRealTimers();
    }
  });

  test('has a JSON counterpart that is delayed by the same pace settings', async () => {
    vi.useFakeTimers();
    try {
      let isThere = false;
      const answer = simulated({ ttftMs: 600, tokensPerSecond: 20 })(post(asking('Hello', { max_tokens: 20 })));
      const come = answer.then(() => {
        isThere = true;
      });
      await vi.advanceTimersByTimeAsync(1_500);
      expect(isThere).toBe(false);
      await vi.advanceTimersByTimeAsync(4_500);
      await come;
    } finally {
      vi.useRealTimers();
    }
  });

  test('ends with an error when the request is aborted', async () => {
    const controller = new AbortController();
    const response = await simulated({ ttftMs: 60_000 })(new Request(post(body), { signal: controller.signal }));
    const reading = chunksOf(response);
    setTimeout(() => controller.abort(new Error('gone')), 20);
    const { chunks, error } = await reading;
    expect(chunks).toHaveLength(1);
    expect(error).toBeDefined();
  });

  test('can be canceled by its reader after the first event', async () => {
    const response = await simulated({ ttftMs: 60_000 })(post(body));
    const reader = response.body?.getReader();
    await reader?.read();
    await expect(reader?.cancel()).resolves.toBeUndefined();
  });

  test('makes finalMessage() of the client reject when the client aborts', async () => {
    const controller = new AbortController();
    const stream = clientOf(simulated({ tokensPerSecond: 100 })).messages.stream(
      { model, max_tokens: 100, messages: [{ role: 'user', content: 'Hi' }] },
      { signal: controller.signal },
    );
    stream.on('text', () => controller.abort());
    await expect(stream.finalMessage()).rejects.toThrow();
  });
});
