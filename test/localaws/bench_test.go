package localaws

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"cognito-backup/test/localaws/wire"
)

// BenchmarkPutItem measures the way through gateway, IAM, replication and
// dynalite: what a rate measured on the testbed may be limited by.
func BenchmarkPutItem(b *testing.B) {
	bed, err := Start(b.Context(), Options{Assembly: writeAssembly(b, template()), Source: "testdata"})
	if err != nil {
		b.Fatal(err)
	}
	defer bed.Close()
	if err := bed.Deploy(b.Context()); err != nil {
		b.Fatal(err)
	}
	client := ddb.NewFromConfig(bed.Config(here))
	var n atomic.Int64
	b.SetParallelism(16)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, err := client.PutItem(b.Context(), &ddb.PutItemInput{TableName: aws.String("T-Table"), Item: map[string]types.AttributeValue{
				"id": &types.AttributeValueMemberS{Value: fmt.Sprintf("USER-%d", n.Add(1))}, "type": &types.AttributeValueMemberS{Value: "USER"}}})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkInvoke measures a warm invocation of a function.
func BenchmarkInvoke(b *testing.B) {
	bed, err := Start(b.Context(), Options{Assembly: writeAssembly(b, template()), Source: "testdata"})
	if err != nil {
		b.Fatal(err)
	}
	defer bed.Close()
	if err := bed.Deploy(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, functionError, err := bed.Lambda().Invoke(b.Context(), functionARN(here, "T-probe"), wire.Principal{}, []byte(`{"Do":"echo"}`)); err != nil || functionError != "" {
			b.Fatal(functionError, err)
		}
	}
}
