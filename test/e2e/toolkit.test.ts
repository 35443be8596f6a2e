/** Another project with the package: what only its files show, as they are packed. By night the examples run, and others judge the package. */
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PackedProject } from '../support/packed-project.ts';

const CLIENT_LIMIT_BYTES = 7_000;

/** An empty folder, in which the package is and nothing else but what it brings. */
let project: PackedProject;

beforeAll(async () => {
  project = await PackedProject.make(false);
});

afterAll(() => project.end());

/** @returns the bytes of a bundle of this code, compressed */
async function bundledBytes(code: string): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: project.folder },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external: ['cloudflare:workers'],
    write: false,
  });
  return gzipSync(outputFiles[0]?.contents ?? '', { level: 9 }).length;
}

test('the client, the transport for the AI SDK without it, and the simulator are there for Node as well', async () => {
  await project.write(
    'entries.mjs',
    'for (const name of process.argv.slice(2)) console.log(Object.keys(await import(name)).join());',
  );
  const names = (
    await project.run(process.execPath, ['entries.mjs', 'sluice/client', 'sluice/client/ai-sdk', 'sluice/simulator'])
  )
    .trim()
    .split('\n');
  expect(names).toEqual([
    expect.stringContaining('createClient'),
    expect.stringContaining('createChatTransport'),
    'createSimulator',
  ]);
});

test('the client type-checks without skipLibCheck, with the types of a browser alone', async () => {
  await project.write(
    'page.ts',
    `import { createClient, SluiceError } from 'sluice/client';
    const client = createClient({ baseURL: 'https://edge.example.com', token: async () => 'token' });
    try {
      const stream = client.messages.stream({ model: 'claude-haiku-5-5', max_tokens: 5, messages: [] });
      const text: string[] = [];
      for await (const event of stream) text.push(event.type);
      const { usage } = await stream.finalMessage();
      const input: number = usage.input_tokens;
      // @ts-expect-error: a name that the API does not have
      void usage.tokens;
      void [text, input];
      const schema = { type: 'object' as const };
      const http = { url: 'https://example.com' };
      const served = { type: 'web_search_20250305' as const, name: 'web_search' as const, max_uses: 2 };
      const beta = { type: 'mcp_toolset', mcp_server_name: 'books', configs: { find: { defer_loading: true } } };
      const ask = { model: 'claude-haiku-5-5', max_tokens: 5 };
      const known = { role: 'user' as const, content: [{ type: 'compaction', content: 'What was said.' }] };
      const tools = [
        served,
        beta,
        { name: 'mail', input_schema: schema, run: http },
        { name: 'clerk', run: { agent: 'clerk' } },
        { name: 'clock', run: 'worker' as const },
      ];
      const more = { mcp_servers: [{ type: 'url', name: 'books', url: 'https://example.com' }], inference_geo: 'eu' };
      client.messages.stream({ ...ask, ...more, messages: [known], tools });
      await client.messages.begin({ ...ask, ...more, conversation: 'c', messages: [known], tools });
      await client.countTokens({ ...ask, ...more, messages: [known], tools });
      client.messages.run({
        ...ask,
        ...more,
        messages: [known],
        tools: [...tools, served, { name: 'sum', input_schema: schema, run: (given, call) => [String(given), call.id].join() }],
      });
      // @ts-expect-error: what is at an address says what it is given
      client.messages.stream({ ...ask, messages: [], tools: [{ name: 'mail', run: http }] });
      // @ts-expect-error: a member that is known has its type
      client.messages.stream({ ...ask, messages: [], conversation: 1 });
      // @ts-expect-error: messages are not left out
      client.messages.stream(ask);
    } catch (thrown) {
      if (!(thrown instanceof SluiceError)) throw thrown;
    }
    export {};`,
  );
  await project.typeCheck(['page.ts'], { lib: ['es2024', 'dom', 'dom.iterable', 'dom.asynciterable'], types: [] });
});

test('what is imported pulls in only what is used', async () => {
  expect(
    await bundledBytes("import { createClient } from 'sluice/client'; console.log(createClient)"),
  ).toBeLessThanOrEqual(CLIENT_LIMIT_BYTES);
  expect(await bundledBytes("import { ApiError } from 'sluice'; console.log(ApiError)")).toBeLessThan(1_000);
  const whole = await bundledBytes("import { createApp } from 'sluice'; console.log(createApp)");
  const limits = await bundledBytes("import { schemas } from 'sluice'; console.log(schemas.limitsSchema)");
  expect(limits).toBeLessThan(whole / 2);
});
