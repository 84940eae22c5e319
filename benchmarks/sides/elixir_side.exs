# The Elixir side: the rows for which Elixir has a module of its own and OTP none. The rules are those of
# protocol.py: batches to warm up for a fifth of SECONDS, then batches for SECONDS, and the median of the
# latter; with SECONDS 0 exactly one batch. Every batch runs in a process of its own.
defmodule Side do
  @warm_share 0.2
  @concurrency 16
  @keys 1000

  def main([row, size, seconds]) do
    {row, size, {seconds, ""}} = {String.to_atom(row), String.to_integer(size), Float.parse(seconds)}
    prepare(row)

    warm = if seconds == 0, do: [], else: batches(row, size, seconds * @warm_share)
    measured = batches(row, size, seconds)
    [checksum] = (warm ++ measured) |> Enum.map(&elem(&1, 1)) |> Enum.uniq()
    figure = measured |> Enum.map(&elem(&1, 0)) |> median()
    IO.puts(~s({"figure": #{figure}, "checksum": #{checksum}, "batches": #{length(measured)}}))
  end

  defp batches(row, size, seconds) do
    began = System.monotonic_time()

    Stream.repeatedly(fn -> Task.await(Task.async(fn -> batch(row, size) end), :infinity) end)
    |> Enum.reduce_while([], fn one, all ->
      if seconds_since(began) >= seconds, do: {:halt, [one | all]}, else: {:cont, [one | all]}
    end)
  end

  # Each key is held by a process of its own, with its number as the value.
  defp prepare(:registry_lookup) do
    {:ok, _} = Registry.start_link(keys: :unique, name: Rooms)
    me = self()

    for key <- 1..@keys do
      spawn_link(fn ->
        {:ok, _} = Registry.register(Rooms, key, key)
        send(me, :registered)
        receive do: (:never -> :ok)
      end)
    end

    for _ <- 1..@keys, do: receive(do: (:registered -> :ok))
  end

  defp prepare(_row), do: :ok

  defp batch(:registry_lookup, size) do
    :erlang.garbage_collect()
    began = System.monotonic_time()
    sum = lookups(size, 0, 0)
    {size / seconds_since(began), sum}
  end

  defp batch(:stream, size) do
    :erlang.garbage_collect()
    began = System.monotonic_time()

    total =
      1..size
      |> Task.async_stream(&double/1, max_concurrency: @concurrency)
      |> Enum.reduce(0, fn {:ok, value}, sum -> sum + value end)

    {size / seconds_since(began), total}
  end

  defp double(n), do: 2 * n

  defp lookups(size, size, sum), do: sum

  defp lookups(size, done, sum) do
    [{_, value}] = Registry.lookup(Rooms, rem(done, @keys) + 1)
    lookups(size, done + 1, sum + value)
  end

  defp seconds_since(began) do
    (System.monotonic_time() - began) / System.convert_time_unit(1, :second, :native)
  end

  defp median(figures) do
    sorted = Enum.sort(figures)
    {low, high} = {div(length(sorted) - 1, 2), div(length(sorted), 2)}
    (Enum.at(sorted, low) + Enum.at(sorted, high)) / 2
  end
end

Side.main(System.argv())
