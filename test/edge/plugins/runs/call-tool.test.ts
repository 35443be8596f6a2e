import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { callTool } from '#edge/plugins/runs/call-tool.ts';
import { callToolBySignedPost } from '#edge/plugins/runs/post-call.ts';
import type { HttpToolRun } from '#edge/plugins/runs/runs.schema.ts';
import type { ToolCallOptions } from '#edge/plugins/runs/tool-kind.ts';
import { MOST_STEP_BYTES } from '#edge/plugins/runs/tool-result.ts';
import { withAddressCheck } from '#edge/plugins/runs/tools/addresses.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { TOOL_SECRET, TOOL_URL } from '#test/support/scripted-runs.ts';

const call = { tool_use_id: 'toolu_1', name: 'get_weather', input: {}, account: 'a', conversation: 'c', turn: 't' };
const settings: ToolCallOptions['settings'] = {
  TOOL_HOSTS: ['tools.example.com', '127.0.0.1:3000', '10.0.0.1'],
  TOOL_SIGNING_SECRET: TOOL_SECRET,
  vars: {
    TOOL_SECRET_WEATHER: 'tools.example.com=Bearer a-secret-of-tools',
    TOOL_SECRET_OTHER: 'other.example.com=Bearer another-of-tools',
  },
  development: false,
};

/** Calls the tool, which is answered by `answer`. */
async function calling(run: object, answer: ToolCallOptions['fetch'], more: Partial<ToolCallOptions> = {}) {
  const { signal } = new AbortController();
  const resultBytes = { left: MOST_STEP_BYTES };
  const options = {
    settings,
    fetch: answer,
    now: Date.now(),
    leftMs: 60_000,
    signal,
    resultBytes,
    hold: async () => {},
    ...more,
  };
  const tool: HttpToolRun = { url: TOOL_URL, ...run };
  return await callTool(call, tool, options, { callTool: withAddressCheck(callToolBySignedPost) });
}

const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

describe('a tool’s response', () => {
  test.each([
    ['text', new Response('sun'), { content: 'sun', isError: false, bytes: 3 }],
    ['JSON', Response.json({ sun: true }), { content: '{"sun":true}', isError: false, bytes: 12 }],
    ['nothing', new Response(null, { status: 204 }), { content: '(no content)', isError: false, bytes: 0 }],
    [
      'an image without a byte',
      new Response(null, { headers: { 'content-type': 'image/png' } }),
      { content: '(no content)', isError: false, bytes: 0 },
    ],
    ['an error', new Response('no', { status: 404 }), { content: 'no', isError: true, bytes: 2 }],
    ['the first error', new Response('no', { status: 400 }), { content: 'no', isError: true, bytes: 2 }],
    ['the last that is none', new Response('ok', { status: 299 }), { content: 'ok', isError: false, bytes: 2 }],
    [
      'an empty error',
      new Response('', { status: 500 }),
      { content: 'The tool responded with 500.', isError: true, bytes: 0 },
    ],
  ])('becomes the tool result: %s', async (_, response, result) => {
    expect(await calling({}, async () => response)).toEqual(result);
  });

  test('may arrive byte by byte, and uses no more memory than its bytes', async () => {
    let left = 9_000;
    const pull = (controller: ReadableByteStreamController) => {
      left -= 1;
      controller.enqueue(new Uint8Array([0x61]));
      if (left === 0) controller.close();
    };
    const heard: number[] = [];
    const resultBytes = {
      get left() {
        return heard.at(-1) ?? MOST_STEP_BYTES;
      },
      set left(bytes: number) {
        heard.push(bytes);
      },
    };
    const body = new ReadableStream({ type: 'bytes', pull });
    const result = { content: 'a'.repeat(9_000), isError: false, bytes: 9_000 };
    expect(await calling({}, async () => new Response(body), { resultBytes })).toEqual(result);
    // Each piece has a buffer of thousands of bytes.
    expect(heard).toEqual([4_096, 8_192, 9_000].map((bytes) => MOST_STEP_BYTES - bytes));
  });

  test('may be an image of any length, which keeps every byte', async () => {
    await tryAsyncCases(20, fc.uint8Array({ maxLength: 60_000 }), async (rest) => {
      const image = new Uint8Array([...PNG, ...rest]);
      const headers = { 'content-type': 'image/png; charset=binary' };
      const { content } = await calling({}, async () => new Response(image, { headers }));
      const [{ source }] = content as unknown as [{ source: { data: string } }];
      expect(source).toMatchObject({ type: 'base64', media_type: 'image/png' });
      expect(Uint8Array.from(atob(source.data), (character) => character.charCodeAt(0))).toEqual(image);
    });
  });

  test('is sent with the image’s actual type, and is an error if it is not an image', async () => {
    const headers = { 'content-type': 'image/webp' };
    const answering = (body: BodyInit) => calling({}, async () => new Response(body, { headers }));
    for (const [bytes, media_type] of [
      [PNG, 'image/png'],
      [[0xff, 0xd8, 0xff, 0xe0], 'image/jpeg'],
      [[...'GIF89a'].map((one) => one.charCodeAt(0)), 'image/gif'],
      [[...'RIFF\n\0\0\0WEBP'].map((one) => one.charCodeAt(0)), 'image/webp'],
    ] as const) {
      const { content } = await answering(new Uint8Array(bytes));
      expect(content).toMatchObject([{ type: 'image', source: { media_type } }]);
    }
    expect(await answering('<html>')).toMatchObject({ isError: true, content: expect.stringContaining('image/webp') });
  });

  test('is not read beyond its maximum length', async () => {
    let read = 0;
    const endless = new ReadableStream({
      pull(controller) {
        read += 1;
        controller.enqueue(new Uint8Array(100_000));
      },
    });
    expect(await calling({}, async () => new Response(endless))).toMatchObject({
      isError: true,
      content: 'The tool’s response has more than 1000000 bytes.',
    });
    expect(read).toBeLessThan(20);
  });

  test('uses memory that all calls of a step share, and returns the memory of a discarded response', async () => {
    const resultBytes = { left: 250 };
    const answering = (bytes: number) => calling({}, async () => new Response('a'.repeat(bytes)), { resultBytes });
    const all = await Promise.all([answering(100), answering(100), answering(100), answering(2_000_000)]);
    expect(all.filter(({ isError }) => !isError)).toHaveLength(2);
    expect(all.filter(({ content }) => String(content).includes('again by itself'))).not.toHaveLength(0);
    expect(resultBytes.left).toBe(50);
    expect(await answering(50)).toMatchObject({ isError: false });
    expect(resultBytes.left).toBe(0);
  });

  test('times out when the run’s remaining time ends before the tool’s own timeout', async () => {
    const hanging: ToolCallOptions['fetch'] = (_, { signal }) =>
      new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    expect(await calling({ timeout_seconds: 5 }, hanging, { leftMs: 30 })).toMatchObject({
      isError: true,
      content: 'The tool did not respond within 1 s.',
    });
  });
});

describe('a tool call', () => {
  const never = async () => {
    throw new Error('it was called');
  };

  test('sends its headers, and a secret only to the host that the secret is bound to', async () => {
    const headers: Headers[] = [];
    const listening: ToolCallOptions['fetch'] = async (_, init) => {
      headers.push(new Headers(init.headers));
      return new Response('sun');
    };
    await calling({ headers: { authorization: { secret: 'WEATHER' }, 'x-team': 'a' } }, listening);
    expect(headers[0]?.get('authorization')).toBe('Bearer a-secret-of-tools');
    expect(headers[0]?.get('x-team')).toBe('a');
    for (const secret of ['OTHER', 'NONE', '__proto__']) {
      const { content } = await calling({ headers: { authorization: { secret } } }, never);
      expect(content).toContain(`TOOL_SECRET_${secret}`);
      expect(content).not.toContain('Bearer');
    }
  });

  test('removes its secret from the response, with or without `Bearer`, as text or within JSON', async () => {
    const value = 'Bearer t0p/"s3cret"-of-tools';
    const given = { TOOL_SECRET_ECHO: `tools.example.com=${value}` };
    const echo: ToolCallOptions['fetch'] = async (_, { headers }) => {
      const sent = new Headers(headers).get('authorization') ?? '';
      return new Response(`${sent} ${sent.slice(7)} ${JSON.stringify({ sent })}`, { status: 403 });
    };
    const run = { headers: { authorization: { secret: 'ECHO' } } };
    expect(await calling(run, echo, { settings: { ...settings, vars: given } })).toMatchObject({
      content: '[secret] [secret] {"sent":"[secret]"}',
      isError: true,
    });
  });

  test.each([
    ['http://tools.example.com/', 'https'],
    ['https://elsewhere.example.com/', 'TOOL_HOSTS'],
    ['https://tools.example.com:8443/', 'TOOL_HOSTS'],
    ['https://user:pw@tools.example.com/', 'credentials'],
    ['https://10.0.0.1/', 'private'],
    ['http://127.0.0.1:3000/', 'https'],
    ['not a URL', 'https'],
  ])('is not sent to %s', async (url, why) => {
    const { content, isError } = await calling({ url }, never);
    expect({ content, isError }).toMatchObject({ isError: true, content: expect.stringContaining(why) });
    // The model and clients are told it, who need not know where a tool is.
    expect(content).not.toMatch(/example\.com|10\.0\.0\.1|127\.0\.0\.1/);
  });

  test('is not sent with malformed headers, and returns an error result', async () => {
    const headers = JSON.parse('{"__proto__": null}') as object;
    expect(await calling({ headers }, never)).toMatchObject({ isError: true });
  });

  test('reaches this machine in development if TOOL_HOSTS names it', async () => {
    const developing = { settings: { ...settings, development: true } };
    const answer = async () => new Response('sun');
    expect(await calling({ url: 'http://127.0.0.1:3000/' }, answer, developing)).toMatchObject({ isError: false });
    expect(await calling({ url: 'http://127.0.0.1:3001/' }, never, developing)).toMatchObject({ isError: true });
  });

  test('is not sent when TOOL_SIGNING_SECRET is missing', async () => {
    const unsigned = { settings: { ...settings, TOOL_SIGNING_SECRET: undefined } };
    expect(await calling({}, never, unsigned)).toMatchObject({
      isError: true,
      content: expect.stringContaining('TOOL_SIGNING_SECRET'),
    });
  });
});
