import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { readConfig } from '../../scripts/read-config.ts';
import { DEPLOY, DeployCheckout, SECRETS } from '../support/deploy-checkout.ts';
import { root } from '../support/root.ts';

const QUEUES = `
[[queues.producers]]
binding = "WORK"
queue = "work"

[[queues.consumers]]
queue = "work"
dead_letter_queue = "work-dead"
`;

let checkout: DeployCheckout;

beforeAll(async () => {
  checkout = await DeployCheckout.make();
});

afterAll(() => checkout.end());

beforeEach(async () => {
  checkout.answer = { status: 200, body: '{"status":"ok","upstream":"anthropic"}' };
  await checkout.configure();
});

const deploy: DeployCheckout['deploy'] = (...given) => checkout.deploy(...given);

describe('npm run deploy', () => {
  test('says what webhooks may spend, where a source of them is open', async () => {
    const open = await deploy({ secrets: { '': [...SECRETS, 'GITHUB_WEBHOOK_SECRET'] } });
    expect(open.output).toContain('$1 a day');
    expect((await deploy()).output).not.toContain('$1 a day');
  });

  test('says which webhooks wait for their secrets', async () => {
    const entries = `[{"source":"github","secret":"OUR_WEBHOOK_SECRET"},{"source":"slack","secret":"CHAT_WEBHOOK_SECRET"}]`;
    await checkout.configure(`[vars]\nWEBHOOKS = '${entries}'`);
    const { status, output } = await deploy({ secrets: { '': [...SECRETS, 'CHAT_WEBHOOK_SECRET'] } });
    expect(status, output).toBe(0);
    expect(output).toMatch(/github .*npx wrangler secret put OUR_WEBHOOK_SECRET$/m);
    expect(output).not.toContain('secret put CHAT_WEBHOOK_SECRET');
  });

  test('stops at a class of objects that no migration names', async () => {
    await checkout.configure('[[durable_objects.bindings]]\nname = "GATE"\nclass_name = "Gate"');
    const { status, output, after } = await deploy();
    expect([status, after.commands.filter(([command]) => command !== 'deploy')]).toEqual([1, []]);
    expect(output).toContain('GATE is bound to Gate, which no migration names.');
    expect(output).toContain('new_sqlite_classes = ["Gate"]');
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
    const { status, output, after } = await deploy();
    expect(status, output).toBe(0);
    expect(output).toContain(`Sluice is deployed on ${checkout.address}`);
    expect(output).toContain('{"status":"ok","upstream":"anthropic"}');
    expect(output).toContain('npm run token -- --account you --scopes admin');
    expect(after.commands).toContainEqual([...DEPLOY, '--env', '']);
  });

  test('makes the queues that wrangler.toml names, once, before it deploys', async () => {
    await checkout.configure(QUEUES);
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
    checkout.answer = {
      status: 500,
      body: '{"type":"error","error":{"type":"api_error","message":"…"},"request_id":"req_1"}',
    };
    const { status, output } = await deploy({ secrets: {} });
    expect(status, output).toBe(0);
    for (const name of SECRETS) expect(output).toMatch(new RegExp(`npx wrangler secret put ${name}$`, 'm'));
  });

  test('asks for the secret of each upstream, where there are several', async () => {
    const upstreams = `[{"name":"main","kind":"anthropic"},{"name":"east-2","kind":"bedrock","region":"us-east-1"}]`;
    await checkout.configure(`[vars]\nUPSTREAMS = '${upstreams}'`);
    checkout.answer = {
      status: 500,
      body: '{"type":"error","error":{"type":"api_error","message":"…"},"request_id":"req_1"}',
    };
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

  test('takes settings that need a secret, which stands elsewhere', async () => {
    const visitors = '{"only":{"agents":["support"],"origins":["https://shop.example"]},"pool":{"usd_per_day":5}}';
    await checkout.configure(
      `[vars]\nALERT_URL = "https://hooks.example.com/"\nALLOWED_ORIGINS = "https://shop.example"\nVISITORS = '${visitors}'`,
    );
    const { status, output, verbs } = await deploy();
    expect(status, output).toBe(0);
    expect(verbs).toContain('deploy');
    await checkout.configure('[vars]\nALERT_URL = "https://10.0.0.1/"');
    expect((await deploy()).output).toContain('ALERT_URL');
  });

  test('asks for no signing secret where an identity provider signs', async () => {
    const provider = `
[vars]
JWKS_URL = "https://login.example.com/keys"
JWT_ISSUER = "https://login.example.com/"
JWT_AUDIENCE = "sluice"
DEFAULT_LIMITS = '{"usd_per_day":1}'
`;
    await checkout.configure(provider);
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
    ['webhooks that are not right', `WEBHOOKS = '[{"source":"github"}]'`, 'WEBHOOKS.0.secret'],
    ['a secret of webhooks for everybody to read', 'OUR_WEBHOOK_SECRET = "sk-ant-x"', 'secret put OUR_WEBHOOK_SECRET'],
    ['a key of an upstream for everybody to read', 'UPSTREAM_EAST_KEY = "sk-ant-x"', 'secret put UPSTREAM_EAST_KEY'],
  ])('stops at %s before anything is touched', async (_, line, named) => {
    await checkout.configure(`[vars]\n${line}`);
    const { status, output, after } = await deploy();
    expect(status).toBe(1);
    expect(output).toContain(named);
    expect(output).not.toContain('sk-ant-x');
    expect(after.commands).toEqual([]);
  });

  test('fails where the edge does not answer, or answers that it cannot', async () => {
    checkout.answer = { status: 404, body: 'There is nothing here yet' };
    const silent = await deploy();
    expect(silent.status).toBe(1);
    expect(silent.output).toContain('There is nothing here yet');
    const { status, output } = await deploy({ targets: ['http://localhost:1'] });
    expect(status).toBe(1);
    expect(output).toContain('http://localhost:1/health');
  });

  test('fails where wrangler does, and says how to log in', async () => {
    await checkout.configure(QUEUES);
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

  test('passes the dry run of a deploy', () => checkout.dryRun());
});
