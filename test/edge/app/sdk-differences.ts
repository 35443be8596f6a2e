/** Where the official client finds the edge otherwise than the Claude API behind it, and why. */

/** What the edge adds to the API's answers, by methods. */
export const ADDED: readonly { methods: RegExp; members: readonly string[]; why: string }[] = [
  {
    methods: /^(?:beta\.)?models\./,
    members: [
      'minimum_cacheable_tokens',
      'replacement',
      'prices',
      'thinking',
      'efforts',
      'default_effort',
      'fast_until',
    ],
    why: 'A frontend shows what a model costs and takes, and which one follows it.',
  },
  {
    methods: /^(?:beta\.)?messages\.countTokens$/,
    members: ['context_window', 'fits', 'cost_usd'],
    why: 'A frontend shows what a request would cost before it is sent.',
  },
  { methods: /^(?:beta\.)?messages\.batches\./, members: ['cost_usd'], why: 'It says what a batch has cost.' },
];

const NO_BATCH = /"status":404,"type":"not_found_error"/;

/** Outcomes that differ, as texts. A form is what is there besides the least arguments, or `strange` where an id is nobody's. */
export const OTHERWISE: readonly { call: RegExp; direct: RegExp; edge: RegExp; why: string }[] = [
  {
    call: /^(?:beta\.)?messages\.batches\.\w+ strange$/,
    direct: NO_BATCH,
    edge: NO_BATCH,
    why: 'The same error in other words: the edge does not ask the API about ids that are not its own.',
  },
  {
    call: /^(?:beta\.)?messages\.batches\.list (?:after|before)_id$/,
    direct: /no message batch has the id x","status":400/,
    edge: /^\{"all":\[/,
    why: 'A cursor is a place in the edge’s own list, also after that batch was deleted.',
  },
  {
    call: /^(?:beta\.)?files\.list page$/,
    direct: /no file has the id x","status":400/,
    edge: /^\{"all":\[\]/,
    why: 'A cursor is a place in the edge’s own list, also after that file was deleted.',
  },
];

/** Resources of which the edge has nothing: whatever is below them is answered with 501. */
export const NOT_OFFERED: Readonly<Record<string, string>> = {
  skills: 'Skills belong to a workspace, not to an account of the edge.',
  userProfiles: 'They are the operator’s own end users at Anthropic.',
  organization: 'It is the operator’s: members, keys, spend.',
  'beta.organization': 'It is the operator’s: members, keys, spend.',
  'beta.skills': 'Skills belong to a workspace, not to an account of the edge.',
  'beta.userProfiles': 'They are the operator’s own end users at Anthropic.',
  'beta.agents': 'Anthropic’s managed agents. The edge has agents of its own.',
  'beta.environments': 'Where managed agents work.',
  'beta.sessions': 'What managed agents do.',
  'beta.deployments': 'When managed agents begin.',
  'beta.deploymentRuns': 'What became of that.',
  'beta.vaults': 'The secrets of managed agents.',
  'beta.memoryStores': 'What managed agents remember.',
  'beta.dreams': 'How that is tidied up.',
  'beta.compliance': 'Reviews of the operator’s own end users at Anthropic.',
  'beta.tunnels': 'How managed agents reach a private network.',
};

/** Methods that call nothing, or only what is walked by itself. */
export const NO_CALLS: Readonly<Record<string, string>> = {
  'beta.webhooks.parseUnverified': 'It reads a text.',
  'beta.webhooks.unwrap': 'It checks a signature.',
  'beta.environments.work.poller': 'It asks for work for ever, by `poll`.',
  'beta.environments.work.worker': 'It asks for work for ever, by `poll`.',
  'beta.sessions.events.toolRunner': 'It listens to a session for ever, by `stream`.',
};
