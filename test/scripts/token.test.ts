import { spawnSync } from 'node:child_process';
import { cp, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verifyToken } from '#edge/auth/verify.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { root } from '#test/support/root.ts';
import { runScript } from '#test/support/run-script.ts';

const KEPT = 'the-secret-that-is-kept-in-dev-vars!';
const GIVEN = 'the-secret-of-the-environment-itself';

/** A checkout of its own: what the developer has in `.dev.vars` is none of a test's business. */
let checkout = '';

beforeAll(async () => {
  checkout = await mkdtemp(join(tmpdir(), 'sluice-token-'));
  for (const name of ['scripts', 'package.json', 'tsconfig.json']) {
    await cp(join(root, name), join(checkout, name), { recursive: true });
  }
  for (const name of ['src', 'node_modules']) await symlink(join(root, name), join(checkout, name));
});

afterAll(async () => await rm(checkout, { recursive: true, force: true }));

const keep = async (text: string) => await writeFile(join(checkout, '.dev.vars'), text);

/** Runs it as npm does. */
function runByNpm(args: string[]) {
  const { SIGNING_SECRET: _, ...env } = process.env;
  return spawnSync('npm', ['run', 'token', '--', ...args], { cwd: checkout, encoding: 'utf8', env });
}

const run = async (args: string[], secret?: string) =>
  await runScript(join(checkout, 'scripts/token.ts'), args, { SIGNING_SECRET: secret });

const identity = async (token: string, secret: string) =>
  await verifyToken(token, parseSettings({ SIGNING_SECRET: secret }));

describe('npm run token', () => {
  test('prints the token only on the last line, signed with the secret from .dev.vars', async () => {
    await keep(`ANTHROPIC_API_KEY=sk-ant-x\nSIGNING_SECRET=${KEPT}\n`);
    const args = ['--account', 'alice', '--scopes', 'messages,classify', '--expires-in', '3600'];
    const { status, stdout } = runByNpm(args);
    expect(status).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    const token = lines.at(-1) ?? '';
    expect(await identity(token, KEPT)).toMatchObject({ account: 'alice', scopes: ['messages', 'classify'] });
    const { iat = 0, exp = 0 } = decodeJwt(token);
    expect(exp - iat).toBe(3_600);
    expect(lines.slice(0, -1).join('\n')).not.toContain('eyJ');
    expect(stdout).not.toContain(KEPT);
  });

  test('creates a restricted token, and rejects invalid or contradictory restrictions', async () => {
    await keep(`SIGNING_SECRET=${KEPT}\n`);
    const bound = [
      '--account',
      'alice',
      '--scopes',
      'messages',
      '--agents',
      'sky,own:cloud',
      '--conversations',
      'web-*',
    ];
    const { stdout, stderr } = await run(bound);
    expect(await identity(stdout.trim(), KEPT)).toMatchObject({
      only: { agents: ['sky', 'own:cloud'], conversations: ['web-*'] },
    });
    const { iat = 0, exp = 0 } = decodeJwt(stdout.trim());
    expect(exp - iat).toBe(900);
    expect(stderr).toBe(`The token expires at ${new Date(exp * 1_000).toISOString()}.\n`);
    expect((await run(['--account', 'alice'])).stderr).toBe('');
    for (const [args, says] of [
      [['--scopes', 'admin', '--agents', 'sky'], /supports only messages and classify\. Remove admin\./],
      [['--agents', 'a b'], /^--agents: Input should be a name/],
      [['--conversations', 'web-*'], /^--agents: requires `agents` or `classifiers`/],
    ] as const) {
      const { status, stderr } = await run(['--account', 'alice', ...args]);
      expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringMatching(says) });
    }
  });

  test('prefers the secret from the environment over .dev.vars', async () => {
    await keep(`SIGNING_SECRET=${KEPT}\n`);
    const { stdout } = await run(['--account', 'root', '--scopes', 'admin', '--label', 'the first one'], GIVEN);
    const token = stdout.trim();
    expect(await identity(token, GIVEN)).toMatchObject({
      account: 'root',
      scopes: ['admin'],
      token: { label: 'the first one', expires_at: expect.any(Number) },
    });
    await expect(identity(token, KEPT)).rejects.toThrow();
    // An empty variable is an absent one.
    expect(await identity((await run(['--account', 'root'], '')).stdout.trim(), KEPT)).toMatchObject({
      scopes: ['messages', 'classify'],
    });
  });

  test.each<[string, string[], RegExp]>([
    ['no account', [], /^--account: required, 1 to 128 characters\. For example: --account alice\n$/],
    ['an empty account', ['--account', ''], /^--account: required/],
    ['a long account', ['--account', 'x'.repeat(129)], /^--account: required/],
    ['an account that pays for webhooks', ['--account', 'webhook-github'], /^--account: accounts named webhook-…/],
    [
      'an unknown scope',
      ['--account', 'a', '--scopes', 'messages,root'],
      /^--scopes: must be some of messages, classify, prefixes, tools, admin/,
    ],
    ['no scope', ['--account', 'a', '--scopes', ''], /^--scopes: must be some of /],
    [
      'a lifetime in hours',
      ['--account', 'a', '--expires-in', '1h'],
      /^--expires-in: must be a whole number of seconds/,
    ],
    ['no lifetime at all', ['--account', 'a', '--expires-in', '0'], /^--expires-in: must be /],
    ['half a second', ['--account', 'a', '--expires-in', '0.5'], /^--expires-in: must be /],
    ['an option that it does not know', ['--acount', 'a'], /--acount.*\nUsage: npm run token -- --account alice/],
    ['an option without its value', ['--account'], /--account.*\nUsage: npm run token/],
    ['a word too many', ['alice'], /alice.*\nUsage: npm run token/],
  ])('fails with an explanation and prints no token, given %s', async (_, args, sentence) => {
    const { status, stdout, stderr } = await run(args, GIVEN);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(sentence);
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  test.each([
    ['no file', undefined],
    ['a file without one', 'ANTHROPIC_API_KEY=sk-ant-x\n'],
  ])('explains where the secret is read from if there is none (%s)', async (_, text) => {
    if (text === undefined) await rm(join(checkout, '.dev.vars'), { force: true });
    else await keep(text);
    const { status, stdout, stderr } = await run(['--account', 'a']);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toBe(
      'SIGNING_SECRET is not set in the environment or in .dev.vars. For development, npm start creates one. For a deployment, set its secret in the environment.\n',
    );
  });

  test('rejects a secret that is too short for a deployment', async () => {
    const { status, stdout, stderr } = await run(['--account', 'a'], 'short');
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(/^SIGNING_SECRET must have at least 32 characters/);
    expect(stderr).not.toContain('short\n');
  });
});
