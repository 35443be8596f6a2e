import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { Tabs } from '../ui/tabs.tsx';
import { LimitsForm } from './limits-form.tsx';
import { PrefixesTable } from './prefixes-table.tsx';
import { Tokens } from './tokens.tsx';
import { readUpstreams, UpstreamsTable } from './upstreams-table.tsx';
import { Webhooks } from './webhooks.tsx';

/** Shows what admins can change. */
export function Admin() {
  const hasWebhooks = useSignal(false);
  const hasUpstreams = useSignal(false);
  useEffect(() => {
    readUpstreams()
      .then((upstreams) => {
        hasUpstreams.value = upstreams.length > 0;
      })
      // Without an answer that part is left out.
      .catch(() => {});
  }, [hasUpstreams]);
  useEffect(() => {
    // The OpenAPI document says which routes this deployment has, so that no missing route is called.
    fetch('/openapi.json')
      .then(async (response) => {
        const { paths } = (await response.json()) as { paths: Record<string, unknown> };
        hasWebhooks.value = '/webhooks/{source}/events' in paths;
      })
      // Without the document that part is left out.
      .catch(() => {});
  }, [hasWebhooks]);
  const tabs = [
    { name: 'Limits', content: () => <LimitsForm /> },
    { name: 'Tokens', content: () => <Tokens /> },
    { name: 'Prefixes', content: () => <PrefixesTable /> },
    ...(hasUpstreams.value ? [{ name: 'Upstreams', content: () => <UpstreamsTable /> }] : []),
    ...(hasWebhooks.value ? [{ name: 'Webhooks', content: () => <Webhooks /> }] : []),
  ];
  return (
    <section class="stack" aria-labelledby="admin">
      <h2 id="admin">For admins</h2>
      <Tabs label="For admins" tabs={tabs} />
    </section>
  );
}
