import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { readConfig } from '../../scripts/read-config.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What the stand-in for wrangler knows of an account at Cloudflare, kept in a file. */
interface Cloud {
  loggedIn: boolean;
  queues: string[];
  secrets: Record<string, string[]>;
  targets: string[];
  /** The commands that it was given. */
  commands: string[][];
}

/** What is bundled is uploaded as it is. */
const DEPLOY = ['deploy', '.wrangler/worker/index.js', '--no-bundle', '--minify=false'];
const SECRETS = ['ANTHROPIC_API_KEY', 'SIGNING_SECRET'];
const QUEUES = `
[[queues.producers]]
binding = "WORK"
queue = "work"

[[queues.consumers]]
queue = "work"
dead_letter_queue = "work-dead"
`;

let checkout = '';
let configuration = '';
let edge: Server;
let answer = { status: 200, body: '' };
let address = '';

/** Stand in for what takes seconds, in tests of everything else. */
const QUICK = {
  'scripts/build.ts': 'export const build = async () => {};',
  'scripts/bundle.ts': "export const bundleWorker = async () => ({ code: 'export default {};', map: '{}' });",
  // What it reads is read beforehand, by the same words: to load wrangler is most of what a deployment computes.
  'scripts/read-config.ts': `import { readFileSync } from 'node:fs';
const { config, fault } = JSON.parse(readFileSync(new URL('../config.json', import.meta.url), 'utf8'));
export const readConfig = () => {
  if (fault !== undefined) throw new Error(fault);
  return config;
};`,
};

/** Stands in for the bundler with what is bundled already. */
const AS_BUILT = `import { readFileSync } from 'node:fs';
const built = JSON.parse(readFileSync(new URL('../built.json', import.meta.url), 'utf8'));
export const bundleWorker = async () => built;`;

beforeAll(async () => {
  checkout = await mkdtemp(join(tmpdir(), 'sluice-deploy-test-'));
  for (const name of ['src', 'scripts', 'docs', 'README.md', 'package.json', 'wrangler.toml']) {
    await cp(join(root, name), join(checkout, name), { recursive: true });
  }
  for (const [name, code] of Object.entries(QUICK)) await writeFile(join(checkout, name), code);
  await symlink(join(root, 'node_modules'), join(checkout, 'node_modules'));
  await mkdir(join(checkout, 'bin'));
  await symlink(join(root, 'test/scripts/wrangler.mjs'), join(checkout, 'bin/wrangler'));
  configuration = await readFile(join(root, 'wrangler.toml'), 'utf8');
  edge = createServer((_, response) => response.writeHead(answer.status).end(answer.body));
  await new Promise<void>((resolve) => edge.listen(0, 'localhost', resolve));
  const at = edge.address();
  address = `http://localhost:${typeof at === 'object' && at ? at.port : 0}`;
});

afterAll(async () => {
  edge.close();
  await rm(checkout, { recursive: true, force: true });
});

beforeEach(async () => {
  answer = { status: 200, body: '{"status":"ok","upstream":"anthropic"}' };
  await writeFile(join(checkout, 'wrangler.toml'), configuration);
});

/** Reads the wrangler.toml of the checkout for a deployment. @returns the configuration, or why it cannot be read */
function configFor(args: readonly string[]): { config: unknown } | { fault: string } {
  const env = args.includes('--env') ? args[args.indexOf('--env') + 1] : undefined;
  try {
    return { config: readConfig(join(checkout, 'wrangler.toml'), env === '' ? undefined : env) };
  } catch (thrown) {
    return { fault: thrown instanceof Error ? thrown.message : String(thrown) };
  }
}

async function deploy(cloud: Partial<Cloud> = {}, args: string[] = []) {
  const file = join(checkout, 'cloud.json');
  const all: Cloud = {
    loggedIn: true,
    queues: [],
    secrets: { '': SECRETS },
    targets: [address],
    commands: [],
    ...cloud,
  };
  await writeFile(file, JSON.stringify(all));
  await writeFile(join(checkout, 'config.json'), JSON.stringify(configFor(args)));
  const child = spawn('node', ['scripts/deploy.ts', ...args], {
    cwd: checkout,
    env: {
      ...process.env,
      PATH: `${join(checkout, 'bin')}${delimiter}${process.env.PATH}`,
      CLOUD: file,
      HEALTH_TIMEOUT_MS: '100',
    },
  });
  let output = '';
  child.stdout.on('data', (piece: Buffer) => (output += piece.toString()));
  child.stderr.on('data', (piece: Buffer) => (output += piece.toString()));
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  const after = JSON.parse(await readFile(file, 'utf8')) as Cloud;
  return {
    status,
    output,
    after,
    verbs: after.commands.map(([verb, what]) => (verb === 'deploy' ? verb : `${verb} ${what}`)),
  };
}

describe('npm run deploy', () => {
  test('says what webhooks may spend, where a source of them is open', async () => {
    const open = await deploy({ secrets: { '': [...SECRETS, 'GITHUB_WEBHOOK_SECRET'] } });
    expect(open.output).toContain('$1 a day');
    expect((await deploy()).output).not.toContain('$1 a day');
  });

  test('tells its options, and stops at a misspelt one before it touches anything', async () => {
    const help = await deploy({}, ['--help']);
    expect(help.status, help.output).toBe(0);
    expect(help.output).toContain('--keep-vars');
    expect(help.after.commands).toEqual([]);
    for (const wrong of ['--dry-rum', '--dryRum', '--enviroment=x']) {
      const stopped = await deploy({}, [wrong]);
      expect(stopped.status).toBe(1);
      expect(stopped.output).toContain(
        `${wrong.split('=')[0]} is no option of a deployment, and nothing was deployed.`,
      );
      if (wrong.startsWith('--dry')) expect(stopped.output).toContain('Did you mean --dry-run?');
      expect(stopped.after.commands).toEqual([]);
    }
    expect((await deploy({}, ['--keepVars', '--no-minify', '-e', '', '--env', ''])).status).toBe(0);
  });

  test('deploys, asks /health, and says the address and what comes next', async () => {
    for (const name of Object.keys(QUICK)) await cp(join(root, name), join(checkout, name));
    const { status, output, after } = await deploy();
    for (const [name, code] of Object.entries(QUICK)) await writeFile(join(checkout, name), code);
    expect(status, output).toBe(0);
    expect(await readFile(join(checkout, '.wrangler/worker/index.js'), 'utf8')).toBe(inject('deployed').code);
    expect(await readdir(join(checkout, 'build'))).toContain('openapi.json');
    expect(output).toContain(`Sluice is deployed on ${address}`);
    expect(output).toContain('{"status":"ok","upstream":"anthropic"}');
    expect(output).toContain('npm run token -- --account you --scopes admin');
    expect(after.commands).toContainEqual([...DEPLOY, '--env', '']);
  });

  test('makes the queues that wrangler.toml names, once, before it deploys', async () => {
    await writeFile(
      join(checkout, 'wrangler.toml'),
      configuration.replace('[observability]', `${QUEUES}\n[observability]`),
    );
    const first = await deploy();
    expect(first.status, first.output).toBe(0);
    const own = first.after.queues.filter((name) => name.startsWith('work'));
    expect(own).toEqual(['work', 'work-dead']);
    expect(first.verbs.lastIndexOf('queues create')).toBeLessThan(first.verbs.indexOf('deploy'));
    const second = await deploy({ queues: first.after.queues });
    expect(second.status, second.output).toBe(0);
    expect(second.after.queues).toEqual(first.after.queues);
    expect(second.verbs).not.toContain('queues create');
  });

  test('says the command for each secret that is not set', async () => {
    answer = { status: 500, body: '{"type":"error","error":{"type":"api_error","message":"…"},"request_id":"req_1"}' };
    const { status, output } = await deploy({ secrets: {} });
    expect(status, output).toBe(0);
    for (const name of SECRETS) expect(output).toMatch(new RegExp(`npx wrangler secret put ${name}$`, 'm'));
  });

  test('asks for the secret of each upstream, where there are several', async () => {
    const upstreams = `[{"name":"main","kind":"anthropic"},{"name":"east-2","kind":"bedrock","region":"us-east-1"}]`;
    await writeFile(
      join(checkout, 'wrangler.toml'),
      configuration.replace('[observability]', `[vars]\nUPSTREAMS = '${upstreams}'\n\n[observability]`),
    );
    answer = { status: 500, body: '{"type":"error","error":{"type":"api_error","message":"…"},"request_id":"req_1"}' };
    const { status, output } = await deploy({ secrets: { '': ['UPSTREAM_MAIN_KEY'] } });
    expect(status, output).toBe(0);
    expect(output).toMatch(/npx wrangler secret put UPSTREAM_EAST_2_KEY$/m);
    expect(output).not.toMatch(/secret put (ANTHROPIC_API_KEY|UPSTREAM_MAIN_KEY)/);
  });

  test('has another deployment in another environment', async () => {
    const { status, output, after } = await deploy({ secrets: { '': SECRETS } }, ['--env', 'staging']);
    expect(status, output).toBe(0);
    expect(after.commands).toContainEqual([...DEPLOY, '--env', 'staging']);
    expect(output).toContain('npx wrangler secret put ANTHROPIC_API_KEY --env staging');
    const unknown = await deploy({}, ['--env', 'nowhere']);
    expect(unknown.status).toBe(1);
    expect(unknown.output).toContain('nowhere');
    expect(unknown.after.commands).toEqual([]);
  });

  test('asks for no signing secret where an identity provider signs', async () => {
    const provider = `
[vars]
JWKS_URL = "https://login.example.com/keys"
JWT_ISSUER = "https://login.example.com/"
JWT_AUDIENCE = "sluice"
DEFAULT_LIMITS = '{"usd_per_day":1}'
`;
    await writeFile(
      join(checkout, 'wrangler.toml'),
      configuration.replace('[observability]', `${provider}\n[observability]`),
    );
    const { status, output } = await deploy({ secrets: { '': ['OTHER'] } });
    expect(status, output).toBe(0);
    expect(output).toContain('npx wrangler secret put ANTHROPIC_API_KEY');
    expect(output).not.toContain('secret put SIGNING_SECRET');
  });

  test.each([
    ['a malformed setting', 'MAX_BODY_BYTES = "many"', 'MAX_BODY_BYTES'],
    ['a secret for everybody to read', 'ANTHROPIC_API_KEY = "sk-ant-x"', 'npx wrangler secret put ANTHROPIC_API_KEY'],
    ['development mode', 'MODE = "development"', 'MODE'],
    ['an upstream that is not right', `UPSTREAMS = '[{"name":"east","kind":"bedrock"}]'`, 'the entry "east": region'],
    ['a key of an upstream for everybody to read', 'UPSTREAM_EAST_KEY = "sk-ant-x"', 'secret put UPSTREAM_EAST_KEY'],
  ])('stops at %s before anything is touched', async (_, line, named) => {
    await writeFile(
      join(checkout, 'wrangler.toml'),
      configuration.replace('[observability]', `[vars]\n${line}\n\n[observability]`),
    );
    const { status, output, after } = await deploy();
    expect(status).toBe(1);
    expect(output).toContain(named);
    expect(output).not.toContain('sk-ant-x');
    expect(after.commands).toEqual([]);
  });

  test('fails where the edge does not answer, or answers that it cannot', async () => {
    answer = { status: 404, body: 'There is nothing here yet' };
    const silent = await deploy();
    expect(silent.status).toBe(1);
    expect(silent.output).toContain('There is nothing here yet');
    const { status, output } = await deploy({ targets: ['http://localhost:1'] });
    expect(status).toBe(1);
    expect(output).toContain('http://localhost:1/health');
  });

  test('fails where wrangler does, and says how to log in', async () => {
    await writeFile(
      join(checkout, 'wrangler.toml'),
      configuration.replace('[observability]', `${QUEUES}\n[observability]`),
    );
    const { status, output, verbs } = await deploy({ loggedIn: false });
    expect(status).toBe(1);
    expect(output).toContain('npx wrangler login');
    expect(verbs).not.toContain('deploy');
  });

  test('calls a domain of one’s own, and without any address says what to do', async () => {
    const { output } = await deploy({ targets: ['https://x.workers.dev', 'localhost:1 (custom domain)'] });
    expect(output).toContain('Sluice is deployed on https://localhost:1');
    const none = await deploy({ targets: ['Producer for work'] });
    expect(none.status, none.output).toBe(0);
    expect(none.output).toContain('/health');
  });
});

describe('wrangler.toml', () => {
  const { definedEnvironments = [] } = read() as { definedEnvironments?: string[] };

  function read(env?: string) {
    return readConfig(join(root, 'wrangler.toml'), env);
  }

  /** What the code can count on, without the names that differ between deployments. */
  function offered(env?: string) {
    const { durable_objects, kv_namespaces, queues, define, migrations, observability, assets, vars } = read(env);
    const consumers = queues.consumers as { queue: string; dead_letter_queue?: string }[];
    const producers = queues.producers as { binding: string; queue: string }[];
    return {
      objects: durable_objects.bindings,
      stores: kv_namespaces.map(({ binding }: { binding: string }) => binding),
      producers: producers.map(({ binding }) => binding),
      consumers: consumers.map(({ queue: _, dead_letter_queue, ...rest }) => ({
        ...rest,
        kept: dead_letter_queue !== undefined,
      })),
      settings: Object.keys(vars),
      define,
      migrations,
      observability,
      assets,
    };
  }

  test('has environments, each with all that the Worker needs, and queues of its own', () => {
    expect(definedEnvironments).toContain('staging');
    for (const name of definedEnvironments) {
      expect(offered(name), name).toEqual(offered());
      const queues = (env?: string) => (read(env).queues.consumers as { queue: string }[]).map(({ queue }) => queue);
      expect(queues(name).filter((queue) => queues().includes(queue))).toEqual([]);
    }
    expect(offered()).toMatchObject({ observability: { enabled: true }, define: { SLUICE_SIMULATOR: 'false' } });
  });

  function expectDryRun({ status, stdout, stderr }: SpawnSyncReturns<string>): void {
    expect(status, stderr).toBe(0);
    expect(stdout).toContain('env.ACCOUNT (Account)');
    expect(stdout).toContain('--dry-run: exiting now.');
    expect(stdout + stderr).not.toContain('WARNING');
  }

  test('passes the dry run of a deploy', () => {
    const args = ['run', '--silent', 'deploy', '--', '--dry-run'];
    expectDryRun(spawnSync('npm', args, { cwd: root, encoding: 'utf8' }));
  });

  // What is built is the same for all of them: it is built once.
  test.each(definedEnvironments)('passes the dry run of a deploy: %s', async (name) => {
    const args = ['--dry-run', '--env', name];
    await cp(join(root, 'build'), join(checkout, 'build'), { recursive: true });
    await writeFile(join(checkout, 'built.json'), JSON.stringify(inject('deployed')));
    await writeFile(join(checkout, 'scripts/bundle.ts'), AS_BUILT);
    await writeFile(join(checkout, 'config.json'), JSON.stringify(configFor(args)));
    const dry = spawnSync(process.execPath, ['scripts/deploy.ts', ...args], { cwd: checkout, encoding: 'utf8' });
    await writeFile(join(checkout, 'scripts/bundle.ts'), QUICK['scripts/bundle.ts']);
    expectDryRun(dry);
    const uploaded = await readFile(join(checkout, '.wrangler/worker/index.js'), 'utf8');
    expect(uploaded).toBe(inject('deployed').code);
  });
});
