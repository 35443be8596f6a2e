import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Page } from '../../client/index.ts';
import { encodePathSegment } from '../../client/transport.ts';
import type { MintedTokenAnswer, Scope, ServedRoutePath, TokenRow } from '../../edge/answers.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { readJson, sendRequest } from '../edge/client.ts';
import { identity } from '../edge/identity.ts';
import { type ListColumn, PolledList } from '../edge/list.tsx';
import { hasPlugin } from '../edge/plugins.ts';
import { refreshAllPolls } from '../edge/poll.ts';
import { SmallButton } from '../ui/button.tsx';
import { CopyButton } from '../ui/copy-button.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { CheckboxChip, Field, Form, SubmitButton } from '../ui/form.tsx';
import { formatExactTime, formatRowTime } from '../ui/format.ts';
import { Identifier } from '../ui/identifier.tsx';

type AdminScope = Extract<Scope, `admin${string}`>;

/** All scopes except those of operators, which are shown separately. A scope that is missing here is a type error. */
const SCOPE_OPTIONS: Record<Exclude<Scope, AdminScope>, true> = {
  messages: true,
  classify: true,
  prefixes: true,
  tools: true,
};
/** The scopes that concern all accounts, each with what it allows. Without the transfer plugin there are no backups. */
const ADMIN_SCOPE_OPTIONS: Record<AdminScope, string> = {
  'admin:read': 'reads accounts, usage and alerts',
  'admin:metrics': 'reads metrics and the state of the upstreams',
  'admin:backup': 'reads backups, which contain everything',
  admin: 'full access to all accounts',
};
type Restriction = 'agents' | 'classifiers' | 'conversations' | 'origins';
/** The resources that a restricted token names, each with an example. */
const RESTRICTIONS: readonly (readonly [Restriction, string, string])[] = [
  ['agents', 'Agents', 'support, own:draft'],
  ['classifiers', 'Classifiers', 'tickets'],
  ['conversations', 'Conversations', 'web-*'],
  ['origins', 'Origins', 'https://app.example.com'],
];
/** The lifetimes to choose from, in seconds; 0 for a token that does not expire. */
const LIFETIME_OPTIONS: readonly (readonly [number, string])[] = [
  [15 * 60, '15 minutes'],
  [3_600, '1 hour'],
  [86_400, '1 day'],
  [30 * 86_400, '30 days'],
];
const NEVER_OPTION = [0, 'Never'] as const;
/** The lifetimes that are chosen at first. */
const [RESTRICTED_SECONDS, UNRESTRICTED_SECONDS] = [15 * 60, 3_600];
/** How many known names are offered. */
const MAX_OFFERED_NAMES = 50;

/** Shows an account's tokens, and lets an admin mint and revoke some. */
export function Tokens({ account }: { account: string }) {
  const minted = useSignal<MintedTokenAnswer | undefined>(undefined);
  const { fault, run } = useAsyncAction();
  const path: ServedRoutePath = `/accounts/${encodePathSegment(account)}/tokens`;
  const runAndRefresh = (work: () => Promise<unknown>) =>
    run(async () => {
      await work();
      refreshAllPolls();
    });
  const mintToken = (fields: object) =>
    runAndRefresh(async () => {
      const body = { account, ...fields };
      minted.value = await readJson<MintedTokenAnswer>('/tokens', { method: 'POST', body });
    });
  const revokeToken = (jti: string) =>
    runAndRefresh(() => sendRequest(`${path}/${encodePathSegment(jti)}`, { method: 'DELETE' }));
  const columns: ListColumn<TokenRow>[] = [
    {
      name: 'Token',
      kind: 'text',
      // All ids of an account's tokens begin with the same letters, so show the complete id. Requests name it, too.
      renderCell: ({ label, jti }) => (
        <>
          {label}
          <code class="token-id">
            <Identifier id={jti} />
          </code>
        </>
      ),
    },
    { name: 'Scopes', kind: 'text', renderCell: ({ scopes }) => <TokenScopes scopes={scopes} /> },
    { name: 'First used', spare: true, renderCell: ({ first_seen_at: at }) => (at ? formatRowTime(at) : 'never') },
    {
      name: 'Last used (in the hour from)',
      kind: 'text',
      renderCell: ({ first_seen_at: first, locations: [last] }) => describeLocation(last, first !== null),
    },
    {
      name: 'Expires',
      renderCell: ({ revoked_at, expires_at }) =>
        revoked_at ? 'revoked' : expires_at ? formatRowTime(expires_at) : 'never',
    },
    {
      name: 'Revoke',
      kind: 'action',
      renderCell: ({ jti, label, revoked_at }) =>
        !revoked_at &&
        identity.value.admin && (
          <SmallButton name="Revoke" label={`Revoke ${label ?? jti}`} onClick={() => void revokeToken(jti)} />
        ),
    },
  ];
  return (
    <div class="stack stacked token-rows">
      {identity.value.admin && <MintForm account={account} mint={mintToken} />}
      {minted.value && (
        <div class="minted">
          <code>{minted.value.token}</code>
          <CopyButton text={() => minted.value?.token ?? ''} label="Copy the token" />
          <p class="quiet">
            {minted.value.expires_at === null
              ? 'The token does not expire.'
              : `The token expires on ${formatExactTime(minted.value.expires_at)}.`}{' '}
            Copy it now. It is not shown again.
          </p>
        </div>
      )}
      {fault.value && <FaultMessage text={fault.value} />}
      <PolledList<TokenRow>
        name="Tokens"
        path={path}
        columns={columns}
        row={{ getKey: ({ jti }) => jti, look: ({ revoked_at }) => (revoked_at ? 'removed' : undefined) }}
        empty="No tokens yet."
      />
    </div>
  );
}

/** Shows what a token is allowed to do. Sluice does not store the scopes of a token that it has not created, unless it is for operators. */
function TokenScopes({ scopes }: Pick<TokenRow, 'scopes'>) {
  if (scopes !== null) return <>{scopes.length === 0 ? 'none' : scopes.join(', ')}</>;
  return (
    <span class="quiet" title="Sluice stores the scopes of tokens that it creates, and of tokens with an admin scope.">
      not stored
    </span>
  );
}

/** @returns the hour in which a token was used, and the country, the network and the client from where */
function describeLocation(location: TokenRow['locations'][number] | undefined, isUsed: boolean): string {
  if (!location) return isUsed ? 'not stored' : 'never';
  const { hour, country, asn, client } = location;
  return [
    formatRowTime(hour),
    country,
    asn === null ? null : `network AS${asn}`,
    client === 'other' ? 'other client' : client,
  ]
    .filter((part) => part !== null)
    .join(', ');
}

function MintForm({ account, mint: mintToken }: { account: string; mint(fields: object): Promise<unknown> }) {
  const busy = useSignal(false);
  const isRestricted = useSignal(false);
  const submitForm = async (form: FormData) => {
    busy.value = true;
    const seconds = Number(form.get('seconds'));
    const label = String(form.get('label')).trim();
    await mintToken({
      scopes: form.getAll('scope').map(String),
      ...(seconds > 0 ? { expires_in: seconds } : {}),
      ...(label === '' ? {} : { label }),
      // An empty restriction is sent too: Sluice rejects it and explains what is missing.
      ...(isRestricted.value ? { only: parseTokenRestrictions(form) } : {}),
    });
    busy.value = false;
  };
  const lifetimes = isRestricted.value ? LIFETIME_OPTIONS : [...LIFETIME_OPTIONS, NEVER_OPTION];
  const initialSeconds = isRestricted.value ? RESTRICTED_SECONDS : UNRESTRICTED_SECONDS;
  return (
    <Form onSubmit={(data) => void submitForm(data)}>
      <div class="fields">
        <Field label="Label">
          {(ids) => (
            <input {...ids} name="label" maxLength={256} autocomplete="off" placeholder="Where the token is used" />
          )}
        </Field>
        <Field label="Expires after">
          {(ids) => (
            <select {...ids} key={initialSeconds} name="seconds">
              {lifetimes.map(([seconds, name]) => (
                <option key={seconds} value={seconds} selected={seconds === initialSeconds}>
                  {name}
                </option>
              ))}
            </select>
          )}
        </Field>
      </div>
      <fieldset class="row">
        <legend class="unseen">Scopes</legend>
        {Object.keys(SCOPE_OPTIONS).map((scope) => (
          <ScopeCheckbox key={scope} scope={scope} />
        ))}
      </fieldset>
      <fieldset class="row">
        <legend class="unseen">Scopes for all accounts</legend>
        {Object.entries(ADMIN_SCOPE_OPTIONS)
          .filter(([scope]) => scope !== 'admin:backup' || hasPlugin('transfer'))
          .map(([scope, meaning]) => (
            <ScopeCheckbox key={scope} scope={scope} meaning={meaning} />
          ))}
        <span class="quiet">These scopes concern all accounts. Never use such a token in a page.</span>
      </fieldset>
      {hasPlugin('agents') && (
        <CheckboxChip
          name="Restrict the token, for use in a page"
          value={isRestricted}
          note="A restricted token can use only its agents and classifiers. Its only scopes are messages and classify."
        />
      )}
      {isRestricted.value && <RestrictionFields account={account} />}
      <p class="row">
        <SubmitButton name={`Create a token for ${account}`} kind="small" disabled={busy.value} />
      </p>
    </Form>
  );
}

function ScopeCheckbox({ scope, meaning }: { scope: string; meaning?: string }) {
  return (
    <label class="chip" title={meaning}>
      <input type="checkbox" name="scope" value={scope} defaultChecked={scope === 'messages'} />
      {scope}
    </label>
  );
}

/** The fields of a restricted token. Each takes names with commas between them, and offers the names that are known. */
function RestrictionFields({ account }: { account: string }) {
  const known = useSignal<Partial<Record<Restriction, readonly string[]>>>({});
  const { fault, run } = useAsyncAction();
  useEffect(() => {
    void run(async () => {
      known.value = await readKnownNames(account);
    });
  }, [account, run, known]);
  return (
    <div class="fields">
      {fault.value && <FaultMessage text={fault.value} />}
      {RESTRICTIONS.map(([name, label, example]) => (
        <RestrictionField key={name} name={name} label={label} example={example} known={known.value[name] ?? []} />
      ))}
      <Field label="Total requests">
        {(ids) => <input {...ids} name="max_requests" type="number" min={1} step={1} placeholder="no limit" />}
      </Field>
    </div>
  );
}

interface RestrictionFieldProps {
  name: Restriction;
  label: string;
  example: string;
  known: readonly string[];
}

function RestrictionField({ name, label, example, known }: RestrictionFieldProps) {
  const text = useSignal('');
  const chosen = parseCommaSeparatedNames(text.value);
  const offered = known.filter((one) => !chosen.includes(one));
  return (
    <Field label={label}>
      {(ids) => (
        <>
          <input
            {...ids}
            name={name}
            autocomplete="off"
            spellcheck={false}
            placeholder={example}
            value={text.value}
            onInput={(event) => (text.value = event.currentTarget.value)}
          />
          {offered.length > 0 && (
            <span class="row">
              {offered.map((one) => (
                <SmallButton
                  key={one}
                  name={one}
                  label={`Add ${one} to ${label}`}
                  onClick={() => {
                    text.value = [...chosen, one].join(', ');
                    // The pressed button disappears, so move the keyboard focus to the field.
                    document.getElementById(ids.id)?.focus();
                  }}
                />
              ))}
            </span>
          )}
        </>
      )}
    </Field>
  );
}

/** @returns the names that a token of an account can use: those of the deployment, those of the account, and its conversations */
async function readKnownNames(account: string): Promise<Partial<Record<Restriction, readonly string[]>>> {
  // GET /versions/:kind and GET /accounts/:id/conversations belong to the transfer plugin.
  if (!hasPlugin('transfer')) return {};
  const query = { limit: MAX_OFFERED_NAMES };
  const readNames = async (kind: 'agent' | 'classifier') => {
    const path: ServedRoutePath = `/versions/${encodePathSegment(kind)}`;
    const read = (of: object) => readJson<Page<{ id: string }>>(path, { query: { ...query, ...of } });
    const [deployment, own] = await Promise.all([read({}), read({ account })]);
    return [...deployment.data.map(({ id }) => id), ...own.data.map(({ id }) => `own:${id}`)];
  };
  const [agents, classifiers, conversations] = await Promise.all([
    readNames('agent'),
    readNames('classifier'),
    readJson<Page<{ id: string }>>(`/accounts/${encodePathSegment(account)}/conversations`, { query }),
  ]);
  return { agents, classifiers, conversations: conversations.data.map(({ id }) => id) };
}

/** @returns the field `only` for the token of a form */
function parseTokenRestrictions(form: FormData): Record<string, unknown> {
  const lists = RESTRICTIONS.map(([name]) => [name, parseCommaSeparatedNames(form.get(name))] as const).filter(
    ([, names]) => names.length > 0,
  );
  const most = Number(form.get('max_requests') ?? 0);
  return { ...Object.fromEntries(lists), ...(most > 0 ? { max_requests: most } : {}) };
}

function parseCommaSeparatedNames(value: FormDataEntryValue | null): string[] {
  return String(value ?? '')
    .split(/[\s,]+/)
    .filter((name) => name !== '');
}
