/** Your edge: the rooms that it has, and the classes of their objects. */
import {
  agentsRoom,
  batchesRoom,
  cloudsRoom,
  createApp,
  createConsumer,
  evaluationRoom,
  filesRoom,
  operatorRoom,
  poolsRoom,
  runsRoom,
  summariesRoom,
  transferRoom,
  visitorsRoom,
  webhooksRoom,
} from 'sluice';

export { Account, Batch, Conversation, Inbox, Pool } from 'sluice';

const edge = createApp({
  rooms: [
    visitorsRoom,
    agentsRoom,
    summariesRoom,
    runsRoom,
    transferRoom,
    webhooksRoom,
    batchesRoom,
    filesRoom,
    evaluationRoom,
    cloudsRoom,
    poolsRoom,
    operatorRoom,
  ],
});

// A route of your own. It asks for a credential, as those of the edge do.
edge.get('/whoami', (c) => c.json({ account: c.get('identity').account }));

export default { fetch: edge.fetch, queue: createConsumer() };
