/** The command as a process, with an upstream that is made of the simulator. */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSimulator } from '#edge/toolkit/simulator.ts';
import { root } from '#test/support/root.ts';
import { type FakeUpstream, type ReceivedRequest, startUpstream } from '#test/support/upstream.ts';
import { proveCalls } from '../../scripts/prove-calls.ts';

const KEY = 'sk-ant-a-key-that-must-not-be-seen';

/** A checkout of its own: what the command keeps there is none of the developer's. */
let checkout = '';
let upstream: FakeUpstream;
/** What the upstream says in place of the simulator. */
let instead: (request: ReceivedRequest, answer: Response) => Promise<Response>;

beforeAll(async () => {
  checkout = await mkdtemp(join(tmpdir(), 'sluice-prove-'));
  for (const name of ['src', 'scripts', 'docs', 'README.md', 'package.json', 'tsconfig.json', 'wrangler.toml']) {
    await cp(join(root, name), join(checkout, name), { recursive: true });
  }
  await symlink(join(root, 'node_modules'), join(checkout, 'node_modules'));
  const simulate = createSimulator();
  upstream = await startUpstream(async (request, response) => {
    const { method, path, headers, body } = request;
    const init = {
      method,
      headers: headers as Record<string, string>,
      ...(body.length > 0 && { body: new Uint8Array(body) }),
    };
    const answer = await instead(request, await simulate(upstream.url + path, init));
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
});

afterAll(async () => {
  await upstream.stop();
  await rm(checkout, { recursive: true, force: true });
});

function run(...args: string[]): Promise<{ status: number; said: string }> {
  const env = { ...process.env, ANTHROPIC_API_KEY: KEY, ANTHROPIC_BASE_URL: upstream.url };
  return new Promise((resolve) => {
    execFile('npm', ['run', '-s', 'prove', '--', ...args], { cwd: checkout, env }, (error, stdout, stderr) =>
      resolve({ status: Number(error?.code ?? 0), said: stdout + stderr }),
    );
  });
}

async function textsIn(folder: string): Promise<Map<string, string>> {
  const names = (await readdir(join(checkout, folder))).sort();
  return new Map(
    await Promise.all(names.map(async (name) => [name, await readFile(join(checkout, folder, name), 'utf8')] as const)),
  );
}

test('npm run prove stores expected and differing responses separately, without the key', async () => {
  const names = proveCalls().map(({ name }) => `${name}.json`);
  // It quotes the key that it was sent, as a gateway might.
  instead = async ({ headers }, answer) =>
    new Response((await answer.text()).replace(/"(text|message)":"/, `$&${headers['x-api-key']} `), answer);
  const right = await run('--into', 'proved');
  expect(right.status, right.said).toBe(0);
  expect(right.said).toContain('is not the Claude API, so the results do not apply to the API.');
  expect(right.said).toContain('0 differences. Responses do not contain prices');
  const written = await textsIn('proved');
  expect([...written.keys()]).toEqual(names.sort());
  expect(written.get('stream.json')).toContain('[secret]');
  expect(upstream.receivedRequests[0]?.headers['x-api-key']).toBe(KEY);

  instead = async ({ body }, answer) =>
    body.includes('opus')
      ? Response.json(
          { type: 'error', error: { type: 'not_found_error', message: `no model for ${KEY}` } },
          { status: 404 },
        )
      : answer;
  const wrong = await run('--into', 'proved');
  expect(wrong.status).toBe(1);
  expect(wrong.said).toContain('DIFFERS  answer-opus: 404 not_found_error, expected 200 end_turn thinking,text');
  expect([...(await textsIn('proved')).keys()]).toEqual(names.filter((name) => !/opus|thinking-off/.test(name)));
  const differing = await textsIn('.wrangler/prove/differing');
  expect(differing.get('answer-opus.json')).toContain('no model for [secret]');
  for (const text of [right.said, wrong.said, ...written.values(), ...differing.values()])
    expect(text).not.toContain(KEY);
});

test('npm run prove resumes a batch that an earlier run created', async () => {
  let isOver = false;
  instead = async ({ path, method }, answer) => {
    if (isOver || method === 'POST' || !path.includes('/batches/')) return answer;
    const batch = (await answer.json()) as Record<string, unknown>;
    return Response.json({ ...batch, processing_status: 'in_progress', results_url: null, ended_at: null });
  };
  const begun = await run('--batch', '--into', 'proved');
  expect(begun.said).toContain('The batch is still running. Run the same command again within a day.');
  const created = () =>
    upstream.receivedRequests.filter(({ method, path }) => method === 'POST' && path.endsWith('/batches'));
  expect(created()).toHaveLength(1);
  isOver = true;
  const ended = await run('--batch', '--into', 'proved');
  expect(ended.status, ended.said).toBe(0);
  expect(ended.said).toMatch(
    /Batch: \$0\.0002\d+ recorded in the ledger, \$0\.0002\d+ computed from its usage\n0 differences/,
  );
  expect(created()).toHaveLength(1);
  expect([...(await textsIn('proved')).keys()]).toContain('batch-answer-haiku.json');
});
