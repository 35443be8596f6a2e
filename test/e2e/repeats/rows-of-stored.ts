import { createHash } from 'node:crypto';
import { bearer, tokenOf } from '../../support/tokens.ts';
import { ANSWER, ASKED, type Ask, history, MODEL, type Row, times } from './row.ts';

const LABELS = { labels: ['red', 'blue'] };
const toolOf = (nth: number) => ({ name: `tool_${nth}`, input_schema: { type: 'object' } });
const put = (path: string, body: object): Ask => ({ method: 'PUT', path, body });

/** A row of so many versions under one name. */
const versions = (kind: string, content: (nth: number) => object): Row => ({
  what: `versions of ${kind}`,
  where: [`PUT /${kind}/:name`, `GET /${kind}/:name/versions`, `GET /${kind}/:name`, `DELETE /${kind}/:name`],
  n: 8,
  asks: (n, id) => [
    ...times(n, (nth) => put(`/${kind}/${id}`, content(nth))),
    { method: 'GET', path: `/${kind}/${id}/versions?limit=1000` },
    { method: 'GET', path: `/${kind}/${id}` },
    { method: 'DELETE', path: `/${kind}/${id}` },
  ],
});

/** A webhook of GitHub. */
const fromGitHub = (body: object, id: string): Ask => ({
  path: '/webhooks/github',
  body,
  isSigned: true,
  status: 202,
  headers: { 'x-github-event': 'issues', 'x-github-delivery': id },
});
const issue = (title: string) => ({
  action: 'opened',
  issue: { number: 1, title, body: 'It broke.', user: { login: 'x' } },
});

export const STORED_ROWS: readonly Row[] = [
  {
    what: 'inputs to label',
    where: ['POST /classify'],
    n: 10,
    most: 256,
    asks: (n, id) => ({
      path: '/classify',
      body: { ...LABELS, inputs: times(n, (nth) => ({ id: `${nth}`, input: `${id} ${nth}` })) },
    }),
  },
  {
    what: 'inputs to label by a batch',
    where: ['POST /classify'],
    n: 250,
    most: 100_000,
    asks: (n, id) => ({
      path: '/classify',
      status: 202,
      body: { ...LABELS, batch: true, inputs: times(n, (nth) => ({ id: `${nth}`, input: `${id} ${nth}` })) },
    }),
  },
  {
    what: 'labels of a batch',
    where: ['GET /classifications/:id/results'],
    n: 250,
    most: 100_000,
    prepare: async (send, n, id) => {
      const inputs = times(n, (nth) => ({ id: `${nth}`, input: `${id} ${nth}` }));
      const body = { ...LABELS, batch: true, inputs };
      const made = await send({ path: '/classify', status: 202, body, headers: { [ANSWER]: 'results' } });
      return (JSON.parse(made) as { id: string }).id;
    },
    // Its alarm reads what the upstream answers.
    asks: (_, __, id) => [
      { method: 'GET', path: `/classifications/${id}`, isAwaited: true, has: '"status":"ended"' },
      { method: 'GET', path: `/classifications/${id}/results` },
    ],
  },
  {
    what: 'labels',
    where: ['POST /classify', 'PUT /classifiers/:name'],
    n: 60,
    most: 500,
    asks: (n, id) => {
      const more = times(n - 1, (nth) => ({ name: `label ${nth}`, examples: ['one', 'two'] }));
      const labels = [{ name: 'red' }, ...more];
      return [put(`/classifiers/${id}`, { labels }), { path: '/classify', body: { labels, input: id } }];
    },
  },
  {
    what: 'examples of a classifier',
    where: ['PUT /classifiers/:name'],
    n: 12,
    most: 100,
    asks: (n, id) =>
      put(`/classifiers/${id}`, { ...LABELS, examples: times(n, (nth) => ({ input: `text ${nth}`, label: 'red' })) }),
  },
  {
    what: 'properties of the fields to extract',
    where: ['PUT /classifiers/:name'],
    n: 100,
    most: 1_000,
    asks: (n, id) =>
      put(`/classifiers/${id}`, {
        ...LABELS,
        fields: { type: 'object', properties: Object.fromEntries(times(n, (nth) => [`f${nth}`, { type: 'string' }])) },
      }),
  },
  {
    what: 'examples to evaluate by',
    where: ['POST /classifiers/:name/evaluate'],
    n: 12,
    most: 200,
    prepare: (send, _, id) => send(put(`/classifiers/${id}`, LABELS)),
    asks: (n, id) => ({
      path: `/classifiers/${id}/evaluate`,
      body: { examples: times(n, (nth) => ({ input: `${id} ${nth}`, label: 'red' })) },
    }),
  },
  versions('classifiers', (nth) => ({ ...LABELS, description: `version ${nth}` })),
  versions('prefixes', (nth) => ({ system: `version ${nth}` })),
  versions('agents', (nth) => ({ model: MODEL, max_tokens: 10, system: `version ${nth}` })),
  {
    what: 'agents, prefixes and classifiers of an account',
    where: ['GET /agents', 'GET /prefixes', 'GET /classifiers'],
    n: 4,
    most: 256,
    prepare: async (send, n, id) => {
      const token = await tokenOf(id, ['messages', 'classify', 'prefixes']);
      for (let nth = 0; nth < n; nth += 1) {
        const stored = {
          agents: { model: MODEL, max_tokens: 10 },
          prefixes: { system: 'x' },
          classifiers: LABELS,
        };
        for (const [kind, body] of Object.entries(stored))
          await send({ ...put(`/${kind}/name-${nth}`, body), headers: bearer(token) });
      }
      return token;
    },
    asks: (_, __, token) =>
      ['agents', 'prefixes', 'classifiers'].map((kind) => ({
        method: 'GET',
        path: `/${kind}?limit=1000`,
        headers: bearer(token),
      })),
  },
  {
    what: 'messages of a prefix',
    where: ['PUT /prefixes/:name'],
    n: 2_000,
    asks: (n, id) => put(`/prefixes/${id}`, { messages: history(n) }),
  },
  {
    what: 'messages of a prefix in a backup',
    where: ['PUT /versions/:kind/:version/backup', 'GET /versions/:kind/:version/backup'],
    n: 2_000,
    asks: (n, id) => {
      const content = { tools: [], system: [], messages: history(n), cache_ttl: '5m' };
      const hash = createHash('sha256').update(JSON.stringify(content)).digest('hex').slice(0, 32);
      const version = `${id}@${hash}`;
      const path = `/versions/prefix/${version}/backup`;
      const backup = { type: 'version_backup', kind: 'prefix', account: null, version, current: true, content };
      return [put(path, backup), { method: 'GET', path }];
    },
  },
  {
    what: 'tools of a prefix',
    where: ['PUT /prefixes/:name'],
    n: 1_000,
    asks: (n, id) => put(`/prefixes/${id}`, { tools: times(n, toolOf) }),
  },
  {
    what: 'tools of an agent',
    where: ['PUT /agents/:name'],
    n: 800,
    asks: (n, id) => put(`/agents/${id}`, { model: MODEL, max_tokens: 10, tools: times(n, toolOf) }),
  },
  {
    what: 'tools of an agent that a request names',
    where: ['POST /messages'],
    n: 100,
    most: 1_000,
    prepare: (send, n, id) => send(put(`/agents/${id}`, { model: MODEL, max_tokens: 10, tools: times(n, toolOf) })),
    asks: (n, id) => ({
      path: '/messages',
      body: { ...ASKED, agent: id, conversation: id, agent_tools: times(n, (nth) => `tool_${nth}`) },
    }),
  },
  {
    what: 'parts of a form',
    where: ['POST /v1/files'],
    n: 800,
    asks: (n) => {
      const form = new FormData();
      for (let nth = 0; nth < n; nth += 1) form.append(`part_${nth}`, 'x');
      form.append('file', new Blob(['word']), 'a.txt');
      return { path: '/v1/files', body: form };
    },
  },
  {
    what: 'bytes of a file',
    where: ['POST /v1/files'],
    n: 3_000_000,
    most: 30_000_000,
    asks: (n) => {
      const form = new FormData();
      form.append('file', new Blob(['x'.repeat(n)]), 'a.txt');
      return { path: '/v1/files', body: form };
    },
  },
  {
    what: 'webhooks',
    where: ['POST /webhooks/:source'],
    n: 8,
    asks: (n, id) => times(n, (nth) => fromGitHub(issue(`${id} ${nth}`), `${id}-${nth}`)),
  },
  {
    what: 'webhooks before a list of them',
    where: ['GET /webhooks/:source/events'],
    n: 16,
    most: 1_000,
    prepare: async (send, n, id) => {
      for (let nth = 0; nth < n; nth += 1) await send(fromGitHub(issue(`${id} ${nth}`), `${id}-${nth}`));
      return '';
    },
    asks: () => ({ method: 'GET', path: '/webhooks/github/events?limit=1000' }),
  },
  {
    what: 'values of a webhook',
    where: ['POST /webhooks/:source'],
    n: 10_000,
    asks: (n, id) => fromGitHub({ ...issue(id), more: times(n, (nth) => nth) }, id),
  },
];
