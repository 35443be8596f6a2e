import { agents, shortVersion } from '../edge/agents.ts';
import { go } from '../ui/route.ts';
import { agent as chosen } from './session/options.ts';

/** Shows which version of an agent answers here; where another one is current by now, it offers a conversation with that. */
export function AgentTag({ agent: { name, version } }: { agent: { name: string; version: string } }) {
  const stored = agents.value?.filter((row) => row.name === name) ?? [];
  const isOld = stored.length > 0 && !stored.some((row) => row.version === version);
  const beginAnew = () => {
    chosen.value = name;
    go('chat');
  };
  return (
    <>
      <a
        class="tag"
        href={`#/agents/${encodeURIComponent(name)}`}
        title="A conversation keeps the version it started with"
      >
        {name} · {shortVersion(version)}
        {isOld && ' · older'}
      </a>
      {isOld && (
        <button type="button" class="link anew" title="A new conversation with the current version" onClick={beginAnew}>
          Start anew
        </button>
      )}
    </>
  );
}
