import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, request as sendRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import Anthropic, { APIConnectionError, type APIError, toFile } from '@anthropic-ai/sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { codeBlocksOf, readGuide } from '#test/support/guides.ts';
import { root } from '#test/support/root.ts';
import { runScript } from '#test/support/run-script.ts';
import { type SimulatorServer, startSimulatorServer } from '../../scripts/simulator-server.ts';

const script = join(root, 'scripts/simulator.ts');
const model = 'claude-haiku-5-5';
const messages = [{ role: 'user' as const, content: 'Hello' }];
const request = { model, max_tokens: 2_048, messages };

let server: SimulatorServer;
let claude: Anthropic;

beforeAll(async () => {
  server = await startSimulatorServer(0, { seed: 'fixed' });
  claude = new Anthropic({ baseURL: server.url, apiKey: 'any', maxRetries: 0 });
});

afterAll(() => server.stop());

const simulate = (directives: string) => ({ headers: { 'sluice-simulate': directives } });

describe('the simulator as a server', () => {
  test('responds to a message, a stream and a token count', async () => {
    const message = await claude.messages.create(request);
    expect(message).toMatchObject({ type: 'message', model, stop_reason: 'end_turn' });
    const streamed = await claude.messages.stream(request).finalMessage();
    expect(streamed.content.at(-1)).toEqual(message.content.at(-1));
    const { input_tokens } = await claude.messages.countTokens({ model, messages });
    expect(input_tokens).toBe(message.usage.input_tokens);
  });

  test('calls a tool', async () => {
    const tools = [
      { name: 'weather', description: 'The weather of a city', input_schema: { type: 'object' as const } },
    ];
    const content = 'Use the tool weather.';
    const message = await claude.messages.create({ ...request, tools, messages: [{ role: 'user', content }] });
    expect(message.stop_reason).toBe('tool_use');
  });

  test('runs a batch, and stores a file', async () => {
    const batch = await claude.messages.batches.create({ requests: [{ custom_id: 'a', params: request }] });
    const results = await Array.fromAsync(await claude.messages.batches.results(batch.id));
    expect(results).toMatchObject([{ custom_id: 'a', result: { type: 'succeeded' } }]);
    const file = await claude.files.upload({ file: await toFile(Buffer.from('sun'), 'a.txt', { type: 'text/plain' }) });
    expect((await Array.fromAsync(claude.files.list())).map(({ id }) => id)).toEqual([file.id]);
  });

  test('rejects an invalid request with the error of the Claude API', async () => {
    const rejected = claude.messages.create({ ...request, messages: [] });
    await expect(rejected).rejects.toMatchObject({ status: 400, type: 'invalid_request_error' });
  });

  test('rejects requests for another host, such as those of a rebound page', async () => {
    const statusFor = (host: string) =>
      new Promise((resolve, reject) => {
        const headers = { host, 'x-api-key': 'any', 'anthropic-version': '2023-06-01' };
        sendRequest(`${server.url}/v1/models`, { headers }, (response) => {
          response.resume();
          resolve(response.statusCode);
        })
          .once('error', reject)
          .end();
      });
    expect(await statusFor('rebound.example')).toBe(403);
    expect(await statusFor('localhost:4010')).toBe(200);
  });

  test('simulates the faults that a request asks for', async () => {
    const overloaded = claude.messages.create(request, simulate('status=529'));
    await expect(overloaded).rejects.toMatchObject({ status: 529, type: 'overloaded_error' });
    await expect(claude.messages.create(request, simulate('network'))).rejects.toThrow(APIConnectionError);
    const cut = claude.messages.stream(request, simulate('cut-events=2')).finalMessage();
    const error = await cut.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Error);
    expect((error as APIError).status).toBeUndefined();
  });

  test('continues to respond after a client has disconnected from a silent stream', async () => {
    const stream = claude.messages.stream(request, simulate('silence-after=2'));
    await new Promise((resolve) => stream.once('streamEvent', resolve));
    stream.abort();
    await expect(stream.done()).rejects.toThrow('aborted');
    expect((await claude.messages.create(request)).type).toBe('message');
  });

  test('returns the same content as another server with the same seed', async () => {
    const other = await startSimulatorServer(0, { seed: 'fixed' });
    const again = new Anthropic({ baseURL: other.url, apiKey: 'any', maxRetries: 0 });
    const [first, second] = [await claude.messages.create(request), await again.messages.create(request)];
    expect(second.content).toEqual(first.content);
    await other.stop();
  });
});

test('the examples of the guide test-without-a-key print the expected output', async () => {
  const [sdk = '', withinTest = ''] = codeBlocksOf(await readGuide('test-without-a-key'), 'ts');
  const run = async (code: string) => {
    const ready = code
      .replace('http://localhost:4010', server.url)
      .replace('sluice/simulator', join(root, 'src/edge/toolkit/simulator.ts'));
    const args = ['--input-type=module-typescript', '--eval', ready];
    return (await promisify(execFile)(process.execPath, args, { cwd: root })).stdout;
  };
  expect(await run(sdk)).toBe('end_turn\n');
  expect(await run(withinTest)).toBe('overloaded_error\n');
});

describe('npm run simulator', () => {
  test('prints its address, and a curl command that gets a message', async () => {
    const child = spawn(process.execPath, [script, '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let printed = '';
    for await (const chunk of child.stdout) {
      printed += String(chunk);
      if (printed.includes('Stop with')) break;
    }
    const [, url = ''] = /listens on (http\S+)\./.exec(printed) ?? [];
    const [, curl = ''] = /(curl [\s\S]*?)\n\n/.exec(printed) ?? [];
    const command = spawn('sh', ['-c', `${curl.replace('curl ', 'curl -s ')}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let answered = '';
    for await (const chunk of command.stdout) answered += String(chunk);
    expect(JSON.parse(answered)).toMatchObject({ type: 'message', role: 'assistant' });
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    child.kill();
    await once(child, 'exit');
  });

  test('ends when the process that started it has ended', async () => {
    // With a second command, the shell does not replace itself with the first one. It forwards no signal, as npm's does not.
    const shell = spawn('sh', ['-c', `"${process.execPath}" "${script}" --port 0; true`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let printed = '';
    for await (const chunk of shell.stdout.iterator({ destroyOnReturn: false })) {
      printed += String(chunk);
      if (printed.includes('Stop with')) break;
    }
    const [, url = ''] = /listens on (http\S+)\./.exec(printed) ?? [];
    const ask = async () => (await fetch(`${url}/v1/models`).catch(() => undefined))?.status;
    expect(await ask()).toBeDefined();
    shell.kill();
    await expect.poll(ask).toBeUndefined();
  });

  test('explains an invalid option and a port that is in use', async () => {
    expect(await runScript(script, ['--ttft-ms', 'soon'])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('--ttft-ms: "soon" is not a whole number'),
    });
    expect(await runScript(script, ['--prot', '1'])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('Usage: npm run simulator'),
    });
    const taken = createServer();
    taken.listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    expect(await runScript(script, ['--port', String(port)])).toMatchObject({
      status: 1,
      stderr: `Port ${port} is in use. Choose another one with --port.\n`,
    });
    taken.close();
  });
});
