export function Classify() {
  return (
    <div class="page">
      <h1>Classify</h1>
    </div>
  );
}
