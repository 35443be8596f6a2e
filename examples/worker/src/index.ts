/** Your edge: the plugins that it has, and the classes of their objects. */
import {
  agents,
  batches,
  clouds,
  createApp,
  evaluation,
  files,
  operator,
  pools,
  runs,
  summaries,
  transfer,
  visitors,
  webhooks,
} from 'sluice';

export { Account, Batch, Conversation, Inbox, Pool } from 'sluice';

const edge = createApp({
  plugins: [visitors, agents, summaries, runs, transfer, webhooks, batches, files, evaluation, clouds, pools, operator],
});

// A route of your own. It asks for a credential, as those of the edge do.
edge.get('/whoami', (c) => c.json({ account: c.get('identity').account }));

export default edge;
