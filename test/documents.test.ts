import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import { computeMinTokensForText } from '#edge/claude/pricing/minimal-thinking.ts';
import type { DurableObjectName } from '#edge/durable/call-object.ts';
import type { SignatureVerificationResult } from '#edge/kit/delivery/signature.ts';
import { ERROR_TYPES } from '#edge/kit/http/gen-ai.ts';
import { alertSchema } from '#edge/money/alerts/alerts-answers.schema.ts';
import { createSimulator } from '#edge/toolkit/simulator.ts';
import { RESOURCES } from '../scripts/described-edge.ts';
import { toAnchor } from '../scripts/guides.ts';
import { readGuide, readGuides, sectionOf } from './support/guides.ts';

const root = new URL('..', import.meta.url);
const read = (name: string) => readFile(new URL(name, root), 'utf8');

/** The names of all routes. */
const described = RESOURCES.flatMap(({ routes }) => Object.keys(routes));

/** The map of the code, and the pages that it links. */
const DESIGN = (await readdir(new URL('docs/design', root))).map((name) => `docs/design/${name}`);
const MAPS = ['ARCHITECTURE.md', ...DESIGN];

test('ARCHITECTURE.md links every design page', async () => {
  const map = await read('ARCHITECTURE.md');
  expect(DESIGN.length).toBeGreaterThan(5);
  expect(DESIGN.filter((page) => !map.includes(`](${page})`))).toEqual([]);
});

test.each(DESIGN)('%s ends with the rejected alternatives', async (page) => {
  const headings = [...(await read(page)).matchAll(/^## (.*)$/gm)].map(([, heading]) => heading);
  expect(headings.at(-1)).toBe('Rejected');
  expect(sectionOf(await read(page), 'Rejected').length).toBeGreaterThan(100);
});

test('src/edge/paths.ts lists the path of each route', async () => {
  const paths = [...new Set(described.map((name) => name.split(' ')[1]))].toSorted();
  const type = `type Path =\n${paths.map((path) => `  | '${path}'`).join('\n')};\n`;
  const source = await read('src/edge/paths.ts');
  await expect(source.replace(/type Path =[\s\S]*?;\n/, type)).toMatchFileSnapshot('../src/edge/paths.ts');
});

test('the diagram in ARCHITECTURE.md contains every plugin', async () => {
  const entries = await readdir(new URL('src/edge/plugins', root), { withFileTypes: true });
  const plugins = entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])).toSorted();
  const picture = /^ {2}plugins\/ +([^(]*?)\n {2}toolkit\//ms.exec(await read('ARCHITECTURE.md'))?.[1] ?? '';
  expect(picture.match(/[\w-]+/g)?.toSorted()).toEqual(plugins);
});

test.each([...MAPS, 'CONTRIBUTING.md'])('%s names only existing files and folders', async (document) => {
  const named = [...(await read(document)).matchAll(/`((?:[\w.-]+\/)+[\w.-]*|[\w.-]+\.ts)`/g)].map(
    ([, path = '']) => path,
  );
  const places = ['', 'src/', 'src/edge/', 'test/'];
  // The table of behaviours names tests without their endings.
  const endings = ['', '.test.ts', '.night.test.ts'];
  const missing = named.filter(
    (path) =>
      !places.some((place) => endings.some((end) => existsSync(fileURLToPath(new URL(place + path + end, root))))),
  );
  expect(missing).toEqual([]);
});

test('each function that a table of ARCHITECTURE.md names is in the file of its row', async () => {
  const rows = [...(await read('ARCHITECTURE.md')).matchAll(/^\| [^|]+ \| `([\w/.-]+\.ts)` +\| `(#?\w+)` *\|$/gm)];
  const wrong: string[] = [];
  for (const [, path = '', name = ''] of rows) {
    const isThere = new RegExp(`(?<!\\w)${name}[(<]|const ${name}\\b`).test(await read(`src/edge/${path}`));
    if (!isThere) wrong.push(`${path}: ${name}`);
  }
  expect(rows.length).toBeGreaterThan(30);
  expect(wrong).toEqual([]);
});

test('every relative link in the README, the guides and the design pages has an existing target', async () => {
  const guides = await readGuides();
  for (const name of [...MAPS, 'CONTRIBUTING.md', 'SECURITY.md']) guides.set(name, await read(name));
  const broken: string[] = [];
  for (const [from, text] of guides) {
    for (const [, href = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (href.startsWith('https://')) continue;
      const [path = '', anchor] = href.split('#');
      const to = path === '' ? from : new URL(path, new URL(from, 'file:///')).pathname.slice(1);
      const isThere = existsSync(fileURLToPath(new URL(to, root)));
      const anchors = [...(guides.get(to) ?? '').matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => toAnchor(heading));
      if (!isThere || (anchor !== undefined && !anchors.includes(anchor))) broken.push(`${from}: ${href}`);
    }
  }
  expect(broken).toEqual([]);
});

test('the files under "Where to begin" in ARCHITECTURE.md exist', async () => {
  const list = sectionOf(await read('ARCHITECTURE.md'), 'Where to begin');
  const names = [...list.matchAll(/`([\w/-]+\.ts)`/g)].map(([, name = '']) => name);
  expect(names.length).toBeGreaterThan(15);
  expect(names.filter((name) => !existsSync(new URL(`src/edge/${name}`, root)))).toEqual([]);
});

test('every guide is listed in the README', async () => {
  const files = (await readdir(new URL('docs', root))).filter((name) => name.endsWith('.md'));
  expect([...(await readGuides()).keys()].slice(1).toSorted()).toEqual(files.map((name) => `docs/${name}`).toSorted());
});

test("each text that the runbook quotes from the built-in page is in the page's source", async () => {
  const lines = [...(await readGuide('runbook')).matchAll(/^- \*\*Page\*\*: (.+)$/gm)].map(([, line = '']) => line);
  const words = new Set(lines.flatMap((line) => [...line.matchAll(/“(.+?)”/g)].map(([, said = '']) => said)));
  const files = (await readdir(new URL('src/page', root), { recursive: true })).filter((name) => /\.tsx?$/.test(name));
  const page = (await Promise.all(files.map((file) => read(`src/page/${file}`)))).join('\n');
  expect(words.size).toBeGreaterThan(10);
  expect([...words].filter((said) => !page.includes(said))).toEqual([]);
});

test('the runbook and the usage guide list every kind of alert', async () => {
  const kinds = alertSchema.shape.kind.options.toSorted();
  for (const [guide, heading] of [
    ['runbook', 'Alerts by kind'],
    ['usage', 'Alerts'],
  ] as const) {
    const rows = [...sectionOf(await readGuide(guide), heading).matchAll(/^\| (`[^|]+`) +\|/gm)].slice(1);
    const listed = rows.flatMap(([, names = '']) => [...names.matchAll(/`(\w+)`/g)].map(([, name]) => name));
    expect(listed.toSorted(), guide).toEqual(kinds);
  }
});

/** What an example asks for at most, with the model that it names just before. */
const ASKED = /(?:\b(claude-[\w-]+)\\?['"][^{}]{0,40}?)?(?:max|example)_?tokens\\?['"]?(?::| =) ?([\d_]+)/gi;

test('every example has enough max_tokens for a text after the thinking of its model', async () => {
  const shown = [...(await readGuides()).entries(), ['scripts/start.ts', await read('scripts/start.ts')] as const];
  for (const folder of ['examples', 'src']) {
    for (const name of await readdir(new URL(folder, root), { recursive: true })) {
      const file = `${folder}/${name}`;
      const isShown = /^(examples|src\/(client|page|edge\/toolkit))\/.*\.(m?ts|tsx|mjs)$|\.reference\.ts$/.test(file);
      if (isShown) shown.push([file, await read(file)]);
    }
  }
  let asked = 0;
  const short: string[] = [];
  for (const [file, text] of shown) {
    for (const [found, named = 'claude-haiku-5-5', most = ''] of text.matchAll(ASKED)) {
      asked += 1;
      const row = MODELS.find(({ id, aliases }) => id === named || aliases.includes(named));
      if (Number(most.replaceAll('_', '')) < computeMinTokensForText(row, {})) short.push(`${file}: ${found}`);
    }
  }
  expect(asked).toBeGreaterThan(50);
  expect(short).toEqual([]);
});

test('every example message request in the reference gets a text response from the simulator', async () => {
  const simulator = createSimulator();
  const told = RESOURCES.flatMap(({ routes }) => Object.entries(routes)).flatMap(([route, { body }]) => {
    const found: { route: string; model: string; max_tokens: number; system?: string; messages?: object[] }[] = [];
    JSON.stringify(body?.example ?? {}, (_, value) => {
      if (typeof value?.max_tokens === 'number' && typeof value.model === 'string') found.push({ ...value, route });
      return value;
    });
    return found;
  });
  expect(told.map(({ route }) => route)).toContain('POST /v1/messages/batches');
  expect(told.length).toBeGreaterThan(5);
  for (const { route, model, max_tokens, system, messages = [{ role: 'user', content: 'Where is it?' }] } of told) {
    const answer = await simulator('https://api.anthropic.com/v1/messages', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': 'any', 'anthropic-version': '2023-06-01' },
      body: JSON.stringify({ model, max_tokens, system, messages }),
    });
    const said = await answer.json();
    expect(said, route).toMatchObject({ stop_reason: 'end_turn' });
    expect((said as { content: object[] }).content.at(-1), route).toMatchObject({ type: 'text' });
  }
});

/** A field of an interface, whose name may stand in quotes. */
const FIELD = /^ {2}'?([\w.]+)'?\??:/gm;

test('the guide to the logs names each log field', async () => {
  const guide = await readGuide('logs');
  const log = await read('src/edge/kit/http/log.ts');
  const fieldsOf = (line: string) =>
    [...(new RegExp(`export interface ${line} \\{([\\s\\S]*?)\\n\\}`).exec(log)?.[1] ?? '').matchAll(FIELD)].map(
      ([, name = '']) => name,
    );
  const [, attributes = ''] =
    /export function createGenAiAttributes[^{]*\{([\s\S]*?)\n\}/.exec(await read('src/edge/kit/http/gen-ai.ts')) ?? [];
  const genAi = [...attributes.matchAll(/^ +'([\w.]+)':/gm)].map(([, name = '']) => name);
  expect(fieldsOf('RequestLogLine')).toContain('gen_ai.provider.name');
  expect(fieldsOf('EventWorkLogLine')).toContain('source');
  expect(genAi).toContain('error.type');
  const logs = sectionOf(guide, 'Logs and metrics');
  const others = sectionOf(guide, 'In other systems');
  const isMissing = (name: string) => !(name.includes('.') ? others : logs).includes(`\`${name}\``);
  expect([...fieldsOf('RequestLogLine'), ...genAi].filter(isMissing)).toEqual([]);
  const work = sectionOf(guide, 'Lines of other work');
  // What a webhook's event or an alert has come to. The type is of the Worker, which is not checked here.
  const [, to = ''] =
    /export interface JobConclusion \{([\s\S]*?)\n\}/.exec(
      await read('src/edge/plugins/webhooks/contracts/inbox.ts'),
    ) ?? [];
  const states = [...to.matchAll(/'(\w+)'/g)].map(([, state = '']) => state);
  expect(states).toContain('again');
  expect([...fieldsOf('EventWorkLogLine'), ...states].filter((name) => !work.includes(`\`${name}\``))).toEqual([]);
});

test('the guide to the logs names each field in the log lines of background failures', async () => {
  const named = new Set(['failed_after_answer']);
  for (const file of await readdir(new URL('src', root), { recursive: true })) {
    if (!file.endsWith('.ts')) continue;
    for (const [, of = ''] of (await read(`src/${file}`)).matchAll(/\blogBackgroundFailure\(\{ (.*?) \},/g)) {
      for (const [, name = ''] of of.matchAll(/(?:^|, )(\w+)/g)) named.add(name);
    }
  }
  expect(named).toContain('summary');
  const work = sectionOf(await readGuide('logs'), 'Lines of other work');
  expect([...named].filter((name) => !work.includes(`\`${name}\``))).toEqual([]);
});

describe('the documentation of `error_type`', () => {
  const FIRST_CELL = /^\| (`[^|]*`[^|]*?) +\|/gm;
  const namesIn = (text: string) =>
    [...text.matchAll(FIRST_CELL)]
      .slice(1)
      .flatMap(([, cell = '']) => [...cell.matchAll(/`([a-z_]+)`/g)].map(([, name]) => name));

  test('in the guide to errors lists each error type that callers receive with its status, and no other type', async () => {
    const [, types = ''] =
      /const STATUS_BY_TYPE = \{([\s\S]*?)\n\}/.exec(await read('src/edge/kit/http/errors.ts')) ?? [];
    const known = [...types.matchAll(/^ {2}(\w+): (\d+),$/gm)].map(([, type, status]) => [type, status]);
    expect(known.length).toBeGreaterThan(10);
    const rows = [...(await readGuide('errors')).matchAll(/^\| `(\w+)` +\| (\d[\d ]*) /gm)];
    expect(new Set(rows.map(([, type]) => type))).toEqual(new Set(known.map(([type]) => type)));
    const lacking = known.filter(
      ([type, status]) => !rows.some(([, of, all]) => of === type && all?.split(' ').includes(status ?? '')),
    );
    expect(lacking).toEqual([]);
  });

  test('in the guide to the logs lists each type that only the log contains, and no type that is never written', async () => {
    const written = new Set<string>();
    for (const file of await readdir(new URL('src', root), { recursive: true })) {
      if (!file.endsWith('.ts') || /^(page|client|simulator)\//.test(file)) continue;
      for (const [statement] of (await read(`src/${file}`)).matchAll(WRITES)) {
        for (const [, literal = ''] of statement.matchAll(/['`]([a-z_$][^'`]*?)(?::[^'`]*)?['`]/g)) {
          // Whatever else is filled in needs its values here.
          if (literal.includes('$')) expect(Object.keys(FILLED_IN), `${file}: ${statement}`).toContain(literal);
          const isWritten =
            /[$_]/.test(literal) || new RegExp(`(?<!=)[:=?] ['\`]${literal}\\b|, '${literal}'$`).test(statement);
          if (isWritten) {
            for (const name of FILLED_IN[literal] ?? [literal]) written.add(name);
          }
        }
      }
    }
    const named = namesIn(sectionOf(await readGuide('logs'), 'Error types in the log'));
    const ofCallers = namesIn(await readGuide('errors'));
    // What `error.type` says is from a closed list: a status of the upstream is none of it.
    expect(named.filter((name = '') => !ERROR_TYPES.has(name))).toEqual(['upstream_']);
    expect(named.toSorted()).toEqual([...written].filter((name) => !ofCallers.includes(name)).toSorted());
  });
});

/** Statements that write an `error_type`: by `logged`, by itself, or as the second argument of `createRetryableError`. */
const WRITES = /\b(?:logged|error_type)(?:: | = |\s*\?\?= )[^;\n]*|\bcreateRetryableError\([^;]*?, '[a-z_]+'/g;

type Verdicts = Record<Exclude<SignatureVerificationResult, 'valid'>, true>;
const VERDICTS: Verdicts = { missing: true, forged: true, stale: true };
/** How an answer can end that was not whole. Its type is of the Worker, which is not checked here. */
const [, endings = ''] = /export type StreamEnding = ([^;]+);/.exec(await read('src/edge/claude/stream.ts')) ?? [];
const ENDS = [...endings.matchAll(/'(\w+)'/g)]
  .map(([, end = '']) => end)
  .filter((end) => end !== 'complete' && end !== 'client_gone');
const OBJECTS: Record<DurableObjectName, true> = {
  account: true,
  batch: true,
  conversation: true,
  inbox: true,
  pool: true,
};

/** What stands in for the variable part of an `error_type`. A status is written so in the guide: `upstream_` and a status. */
const FILLED_IN: Readonly<Record<string, readonly string[]>> = {
  // biome-ignore-start lint/suspicious/noTemplateCurlyInString: these are texts of the source
  'upstream_${end}': ENDS.map((end) => `upstream_${end}`),
  'upstream_${status}': ['upstream_'],
  'upstream_${response.status}': ['upstream_'],
  'upstream_${listed.status}': ['upstream_'],
  '${object}_damaged': Object.keys(OBJECTS).map((object) => `${object}_damaged`),
  '${object}_unreachable': Object.keys(OBJECTS).map((object) => `${object}_unreachable`),
  '${INTERNAL}': ['internal'],
  'webhook_signature_${verdict}': Object.keys(VERDICTS).map((verdict) => `webhook_signature_${verdict}`),
  'model_${fault.kind}': ['model_refused', 'model_too_long'],
  // biome-ignore-end lint/suspicious/noTemplateCurlyInString: these are texts of the source
};
