import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useMemo } from 'preact/hooks';
import type { Batch } from '../../client/index.ts';
import { refreshQuota } from '../edge/account.ts';
import { edge, sentenceOf } from '../edge/client.ts';
import { announce } from '../ui/announcer.tsx';
import { Facts } from '../ui/facts.tsx';
import { Fault } from '../ui/fault.tsx';
import { formatCount, formatMoment, sentenceCase } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { BatchActions } from './batch-list.tsx';
import { listFault } from './list.ts';
import { batchStateOf, outcomesOf, totalOf } from './progress.ts';
import { BatchResults } from './results.ts';
import { ResultsTable } from './results-table.tsx';

/** Shows one batch: how far it is, and its results once it has ended. */
export function BatchView({ id }: { id: string }) {
  const batch = useSignal<Batch | undefined>(undefined);
  const fault = useSignal<string | undefined>(undefined);
  const results = useMemo(() => new BatchResults(), []);
  useEffect(() => {
    const left = new AbortController();
    listFault.value = undefined;
    const follow = async () => {
      let ran = false;
      await edge().batches.waitFor(id, {
        signal: left.signal,
        onProgress: (now) => {
          batch.value = now;
          ran ||= now.processing_status !== 'ended';
        },
      });
      if (ran) {
        announce('The batch has ended.');
        await refreshQuota();
      }
      await results.read(id);
    };
    follow().catch((thrown: unknown) => {
      if (!left.signal.aborted) fault.value = sentenceOf(thrown);
    });
    return () => {
      left.abort();
      results.close();
    };
  }, [id, batch, fault, results]);
  const known = batch.value;
  const complaint = fault.value ?? listFault.value;
  return (
    <>
      <header class="stack">
        <p>
          <a href="#/batches">All batches</a>
        </p>
        <div class="apart page-head">
          <h1 class="batch-id">{id}</h1>
          {known && <BatchActions batch={known} isOpen />}
        </div>
      </header>
      {complaint && <Fault text={complaint} />}
      <section class="panel stack batch-state" aria-label="State" aria-busy={known === undefined}>
        {known && <State batch={known} />}
      </section>
      {known?.processing_status === 'ended' && <ResultsTable id={id} results={results} />}
    </>
  );
}

function State({ batch }: { batch: Batch }) {
  const { cost_usd, created_at, ended_at, expires_at, processing_status } = batch;
  const ended = processing_status === 'ended';
  const facts: [string, string | JSX.Element][] = [
    ['Requests', formatCount(totalOf(batch))],
    ['Created', formatMoment(created_at)],
    ended_at === null ? ['Ends by', formatMoment(expires_at)] : ['Ended', formatMoment(ended_at)],
    ...(cost_usd === null ? [] : [['Cost', <Usd key="cost" value={cost_usd} />] satisfies [string, JSX.Element]]),
  ];
  return (
    <>
      <p class="batch-words" role="status">
        {sentenceCase(batchStateOf(batch))}
      </p>
      <div class="bar" data-runs={!ended} aria-hidden="true">
        {outcomesOf(batch).map(([outcome, count]) => (
          <span key={outcome} class={outcome} style={{ flexGrow: count }} />
        ))}
      </div>
      <Facts facts={facts} />
      <p class="quiet">
        {ended
          ? 'You pay only for requests that succeeded. Claude keeps the results for 29 days from the start. Download what you need for longer.'
          : 'Most batches end within an hour. The results come when all requests have ended. You can close this page.'}
      </p>
    </>
  );
}
